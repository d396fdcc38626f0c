// Rows of x to integers (kernels/quantized_x.h). Included by linear_int8.cc only, behind its tile.
#pragma once

#include "kernels/cpu/vec.h"
#include "kernels/packed.h"
#include "kernels/quantized_x.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

// NaN in some lane where a value is not finite, else zeros.
inline Vec DifferenceOf(Vec v, Vec so_far) { return Add(so_far, Sub(v, v)); }
inline Vec LargerMagnitude(Vec v, Vec so_far) { return Max(so_far, Max(v, Sub(Zero(), v))); }

// Codes of `count` values, and their sum in lanes; whole numbers: exact in any order.
inline Vec StoreRounded(const float* x, int64_t count, float inverse, int8_t* codes) {
  Vec sum = Zero();
  for (int64_t i = 0; i < count; i += kLanes) {
    const Vec rounded = RoundNearest(Mul(Load(x + i), Set1(inverse)));
    StoreCodes(codes + i, rounded);
    sum = Add(sum, rounded);
  }
  return sum;
}

void QuantizeGroup(const float* x, int64_t count, std::byte* to) {
  Vec largest = Zero();
  Vec difference = Zero();
  for (int64_t i = 0; i < count; i += kLanes) {
    const Vec v = Load(x + i);
    largest = LargerMagnitude(v, largest);
    difference = DifferenceOf(v, difference);
  }
  const float maximum = ReduceMax(largest);
  const bool finite = ReduceAdd(difference) == 0.0F;
  const float inverse = InverseXScale(maximum, finite);
  auto* const codes = reinterpret_cast<int8_t*>(to);
  int sums[2] = {};
  if (inverse == 0.0F) {
    std::memset(codes, 0, static_cast<size_t>(count));
  } else {
    for (int half = 0; half < 2; ++half) {
      const int64_t first = half * count / 2;
      sums[half] = static_cast<int>(ReduceAdd(StoreRounded(x + first, count / 2, inverse, codes + first)));
    }
  }
  const XGroup group = MakeXGroup(maximum, finite, sums[0], sums[1]);
  std::memcpy(to + count, &group, sizeof(group));
}

// Four neighbouring groups of 32 as QuantizeGroup would, their reductions and divisions side by side. False: not done,
// some value is not finite.
bool QuantizeFour(const float* x, std::byte* to) {
  constexpr int64_t kBytes = kGroup + static_cast<int64_t>(sizeof(XGroup));
  Vec largest[4];
  Vec difference = Zero();
  for (int g = 0; g < 4; ++g) {
    largest[g] = Zero();
    for (int64_t i = 0; i < kGroup; i += kLanes) {
      const Vec v = Load(x + g * kGroup + i);
      largest[g] = LargerMagnitude(v, largest[g]);
      difference = DifferenceOf(v, difference);
    }
  }
  if (ReduceAdd(difference) != 0.0F) {
    return false;
  }
  float maxima[4];
  float inverses[4];
  ReduceMax4(largest, maxima);
  for (int g = 0; g < 4; ++g) {
    inverses[g] = InverseXScale(maxima[g], true);  // 0: the codes become zeros
  }
  Vec sums[2][4];
  for (int g = 0; g < 4; ++g) {
    auto* const codes = reinterpret_cast<int8_t*>(to + g * kBytes);
    for (int64_t half = 0; half < 2; ++half) {
      const int64_t first = half * kGroup / 2;
      sums[half][g] = StoreRounded(x + g * kGroup + first, kGroup / 2, inverses[g], codes + first);
    }
  }
  float halves[2][4];
  ReduceAdd4(sums[0], halves[0]);
  ReduceAdd4(sums[1], halves[1]);
  for (int g = 0; g < 4; ++g) {
    const XGroup group = MakeXGroup(maxima[g], true, static_cast<int>(halves[0][g]), static_cast<int>(halves[1][g]));
    std::memcpy(to + g * kBytes + kGroup, &group, sizeof(group));
  }
  return true;
}

void QuantizeRow(const float* x, int64_t row, const QuantizedX& out) {
  std::byte* const to = out.Row(row);
  int64_t g = 0;
  if (out.group == kGroup) {
    while (g + 4 <= out.per_row && QuantizeFour(x + g * kGroup, to + g * out.group_bytes())) {
      g += 4;
    }
  }
  for (; g < out.per_row; ++g) {
    QuantizeGroup(x + g * out.group, out.group, to + g * out.group_bytes());
  }
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
