// Runs: pages that are neighbours in a range and in the pool are one mapping to the system.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "memory/page_pool.h"

namespace causeway::memory {

// Whether a run begins at pages[i]: it does not follow its predecessor. False behind the end.
inline bool BeginsRun(const std::vector<PageRef>& pages, size_t i) {
  return i < pages.size() && (i == 0 || pages[i].page() != pages[i - 1].page() + 1);
}

// Runs that begin within pages[first, end).
inline int64_t RunsBegun(const std::vector<PageRef>& pages, size_t first) {
  int64_t runs = 0;
  for (size_t i = first; i < pages.size(); ++i) {
    runs += BeginsRun(pages, i) ? 1 : 0;
  }
  return runs;
}

}  // namespace causeway::memory
