// Requests for the bytes of panels that come next. Included by linear_int8.cc and its tiles only.
#pragma once

#include "kernels/cpu/vec.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

// What a tile asks memory for while it computes: `each` lines a group of x from `next` on; nothing by default. Into the
// nearest cache where its own panels meet no second tile, for then there is room.
struct Ahead {
  const std::byte* next = nullptr;
  int32_t each = 0;
  bool near = false;
};
static_assert(sizeof(Ahead) == 16);  // two registers

CAUSEWAY_INLINE void AskAhead(const Ahead& ahead, int64_t group) {
  const std::byte* const from = ahead.next + group * ahead.each * 64;
  const std::byte* const end = from + ahead.each * int64_t{64};
  if (ahead.near) {
    for (const std::byte* line = from; line < end; line += 64) {
      __builtin_prefetch(line, 0, 3);
    }
  } else {
    for (const std::byte* line = from; line < end; line += 64) {
      __builtin_prefetch(line, 0, 2);
    }
  }
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
