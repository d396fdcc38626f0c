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

// Beside super-blocks whose scales are multiplied as integers: the sums of two neighbours together, once all that
// shares a scale is there.
inline void PairSums(const XShape& shape, std::byte* to) {
  for (int64_t g = 0; kScalesIntegers && g + 1 < shape.scale_groups; g += 2) {
    std::byte* const first = to + g * shape.group_bytes() + shape.group;
    const std::byte* const sums[] = {first, first + shape.group_bytes()};
    for (int64_t i = 0; i < 2; ++i) {
      std::memcpy(first + offsetof(XGroup, minus_pair) + i * int64_t{sizeof(int16_t)},
                  sums[i] + offsetof(XGroup, minus_sum), sizeof(int16_t));
    }
  }
}

// All that shares a scale; returns how many groups that are.
int64_t QuantizeGroups(const float* x, const XShape& shape, std::byte* to) {
  Vec largest = Zero();
  Vec difference = Zero();
  for (int64_t i = 0; i < shape.scale_values(); i += kLanes) {
    const Vec v = Load(x + i);
    largest = LargerMagnitude(v, largest);
    difference = DifferenceOf(v, difference);
  }
  const float maximum = ReduceMax(largest);
  const bool finite = ReduceAdd(difference) == 0.0F;
  const float inverse = InverseXScale(maximum, finite);
  std::byte* const first = to;
  for (int64_t g = 0; g < shape.scale_groups; ++g, x += shape.group, to += shape.group_bytes()) {
    auto* const codes = reinterpret_cast<int8_t*>(to);
    int sums[2] = {};
    if (inverse == 0.0F) {
      std::memset(codes, 0, static_cast<size_t>(shape.group));
    } else {
      for (int half = 0; half < 2; ++half) {
        const int64_t first = half * shape.group / 2;
        sums[half] = static_cast<int>(ReduceAdd(StoreRounded(x + first, shape.group / 2, inverse, codes + first)));
      }
    }
    const XGroup group = shape.MakeGroup(XScale(maximum, finite), sums[0], sums[1]);
    std::memcpy(to + shape.group, &group, sizeof(group));
  }
  PairSums(shape, first);
  return shape.scale_groups;
}

// Rows lie too short for the hardware to run ahead of them: of x, beyond what is at hand, into the second cache.
constexpr int64_t kRowsAhead = 4096;  // values
inline void AskForX(const float* x, int64_t count) {
  for (int64_t i = 0; i < count; i += 64 / static_cast<int64_t>(sizeof(float))) {
    __builtin_prefetch(x + kRowsAhead + i, 0, 2);
  }
}

// Four neighbouring groups of kValues as QuantizeGroups would, their reductions and divisions side by side. False: not
// done, some value is not finite.
template <int64_t kValues>
bool QuantizeFour(const float* x, const XShape& shape, std::byte* to) {
  Vec largest[4];
  Vec difference = Zero();
  for (int g = 0; g < 4; ++g) {
    largest[g] = Zero();
    for (int64_t i = 0; i < kValues; i += kLanes) {
      const Vec v = Load(x + g * kValues + i);
      largest[g] = LargerMagnitude(v, largest[g]);
      difference = DifferenceOf(v, difference);
    }
  }
  if (ReduceAdd(difference) != 0.0F) {
    return false;
  }
  float maxima[4];
  ReduceMax4(largest, maxima);
  float inverses[4];
  for (int g = 0; g < 4; ++g) {
    for (int other = 0; shape.scale_groups != 1 && other < 4; ++other) {
      maxima[g] = maxima[g] > maxima[other] ? maxima[g] : maxima[other];
    }
    inverses[g] = InverseXScale(maxima[g], true);  // 0: the codes become zeros
  }
  Vec sums[2][4];
  for (int g = 0; g < 4; ++g) {
    auto* const codes = reinterpret_cast<int8_t*>(to + g * shape.group_bytes());
    for (int64_t half = 0; half < 2; ++half) {
      const int64_t first = half * kValues / 2;
      sums[half][g] = StoreRounded(x + g * kValues + first, kValues / 2, inverses[g], codes + first);
    }
  }
  float halves[2][4];
  ReduceAdd4(sums[0], halves[0]);
  ReduceAdd4(sums[1], halves[1]);
  for (int g = 0; g < 4; ++g) {
    const XGroup group =
        shape.MakeGroup(XScale(maxima[g], true), static_cast<int>(halves[0][g]), static_cast<int>(halves[1][g]));
    std::memcpy(to + g * shape.group_bytes() + kValues, &group, sizeof(group));
  }
  PairSums(shape, to);
  return true;
}

// kAsks: for rows of x behind this one.
template <bool kAsks>
void QuantizeRow(const float* x, int64_t row, const QuantizedX& out) {
  static_assert(kWideGroups == 4);
  const XShape& shape = out.shape;
  std::byte* const to = out.Row(row);
  const auto quantize_four = shape.group == kGroup ? QuantizeFour<kGroup> : QuantizeFour<kGroup * kWideGroups>;
  int64_t g = 0;
  for (; g + 4 <= out.per_row; g += 4) {
    const float* const four = x + g * shape.group;
    if constexpr (kAsks) {
      AskForX(four, 4 * shape.group);
    }
    if (!quantize_four(four, shape, to + g * shape.group_bytes())) {
      break;
    }
  }
  while (g < out.per_row) {
    g += QuantizeGroups(x + g * shape.group, shape, to + g * shape.group_bytes());
  }
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
