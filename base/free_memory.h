// Giving memory back.
#pragma once

#include <cstdlib>
#include <vector>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace causeway {

// `values = {}` does not: it assigns no elements and keeps the memory for later ones.
template <typename T>
void FreeMemory(std::vector<T>& values) {
  std::vector<T>().swap(values);
}

// Of memory that was freed, gives the system what the allocator kept for later.
inline void ReturnFreedMemory() {
#if defined(__GLIBC__)
  ::malloc_trim(0);
#endif
}

}  // namespace causeway
