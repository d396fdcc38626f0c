// Requests for the bytes of panels that come next. Included by linear_int8.cc and its tiles only.
#pragma once

#include "kernels/cpu/vec.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

// What a tile asks memory for while it computes: `each` lines a group from `next` on. By default what its own panels
// hold farther on.
struct Ahead {
  const std::byte* next = nullptr;
  int64_t each = -1;
};

// Asks beside group `group` of x, for which a tile reads `bytes` from each of `codes` on; kFarther: how far in its own
// panel a tile looks.
template <int64_t kFarther, int R>
CAUSEWAY_INLINE void AskAhead(const Ahead& ahead, int64_t group, const std::byte* const (&codes)[R], int64_t bytes) {
  if (ahead.each < 0) {
    CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) {
      for (int64_t at = 0; at < bytes; at += 64) {
        __builtin_prefetch(codes[r] + at + kFarther, 0, 3);
      }
    }
  } else if (ahead.next != nullptr) {
    for (int64_t line = group * ahead.each; line < (group + 1) * ahead.each; ++line) {
      __builtin_prefetch(ahead.next + line * 64, 0, 2);
    }
  }
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
