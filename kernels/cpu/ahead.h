// Requests for the weights that come next.
#pragma once

#include "kernels/cpu/vec.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

// What a tile asks memory for while it computes: from `next` on `pace` lines, in fixed point, a turn of its loop;
// nothing by default. Rounded up to whole lines a turn, a panel would be asked for in leaps with pauses between them,
// which cost 1 to 2 %. Into the second cache: the panels of a tile fill the first one (with 32 KiB of it, two to six
// rows of x lost up to a third when they were asked for there).
struct Ahead {
  static constexpr int kFraction = 16;  // bits

  const std::byte* next = nullptr;
  int64_t pace = 0;

  const std::byte* Before(int64_t turn) const { return next + (turn * pace >> kFraction) * 64; }
};
static_assert(sizeof(Ahead) == 16);  // two registers

inline __attribute__((always_inline)) void AskAhead(const Ahead& ahead, int64_t turn) {
  const std::byte* const end = ahead.Before(turn + 1);
  for (const std::byte* line = ahead.Before(turn); line < end; line += 64) {
    __builtin_prefetch(line, 0, 2);
  }
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
