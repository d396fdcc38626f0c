// Spill or drop: whether a page is worth its place in a tier.
#pragma once

#include <cstdint>

namespace causeway::memory {

// Whether reading a page back takes less time than computing its tokens again. A rate that is not known yet (0) speaks
// for keeping: without pages that are kept, none would ever be measured.
inline bool WorthKeeping(int64_t page_bytes, double read_bytes_per_s, double recompute_tokens_per_s,
                         int64_t tokens_per_page) {
  if (read_bytes_per_s <= 0 || recompute_tokens_per_s <= 0) {
    return true;
  }
  return static_cast<double>(page_bytes) / read_bytes_per_s <
         static_cast<double>(tokens_per_page) / recompute_tokens_per_s;
}

}  // namespace causeway::memory
