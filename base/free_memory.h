// Giving a vector's memory back.
#pragma once

#include <vector>

namespace causeway {

// `values = {}` does not: it assigns no elements and keeps the memory for later ones.
template <typename T>
void FreeMemory(std::vector<T>& values) {
  std::vector<T>().swap(values);
}

}  // namespace causeway
