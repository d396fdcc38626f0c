// The integer tile in plain C++: what the vector ones compute, one output at a time, a product and a sum rounded apart.
// Included by linear_int8.cc only.
#pragma once

#include <array>

#include "kernels/cpu/vec.h"
#include "kernels/packed.h"
#include "kernels/quantized_x.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr int kMaxHeight = 4;
constexpr int WidthOf(int) { return 1; }
using Sums = std::array<float, kPanelRows>;
using LaneMask = int64_t;

inline LaneMask MaskOf(int64_t valid) { return valid; }
inline void ClearSums(Sums& sums) { sums.fill(0.0F); }
inline void AddBias(const float* p, LaneMask valid, Sums& sums) {
  for (int64_t i = 0; i < valid; ++i) {
    sums[static_cast<size_t>(i)] += p[i];
  }
}
inline void StoreSums(float* p, LaneMask valid, const Sums& sums) {
  std::memcpy(p, sums.data(), static_cast<size_t>(valid) * sizeof(float));
}
inline void StoreCodes(int8_t* p, Vec rounded) {
  for (int i = 0; i < kLanes; ++i) {
    p[i] = static_cast<int8_t>(rounded.v[i]);
  }
}

// Code k of a group of row `lane`, without the offset of nibbles.
template <PackedKind kKind>
inline int CodeAt(const std::byte* codes, int64_t lane, int64_t k) {
  if constexpr (HasBytes(kKind)) {
    return static_cast<int8_t>(codes[k / 4 * 64 + lane * 4 + k % 4]);
  }
  const int64_t at = k % (kGroup / 2);
  const auto byte = static_cast<int>(codes[at / 4 * 64 + lane * 4 + at % 4]);
  return k < kGroup / 2 ? byte & 0xf : byte >> 4;
}

// What is taken from each code of a row.
template <PackedKind kKind>
inline int OffsetOf(const std::byte* params, int64_t lane) {
  if constexpr (HasZero(kKind)) {
    const auto zero = static_cast<uint8_t>(params[kPanelRows * 4 + lane]);
    return kKind == PackedKind::kBytesZero ? static_cast<int8_t>(zero) : zero;
  }
  return kKind == PackedKind::kNibbles ? 8 : 0;
}

inline float HalfAt(const std::byte* p) {
  uint16_t half;
  std::memcpy(&half, p, sizeof(half));
  return HalfToFloat(half);
}

// Adds the groups of R panels times C rows of x to the sums.
template <PackedKind kKind, int R, int C>
void AddGroups(const std::byte* const (&panels)[R], const PanelShape& shape, const QuantizedX& x, const Ahead&,
               Sums (&sums)[R][C]) {
  static_assert(R == 1);
  for (int64_t g = 0; g < x.per_row; ++g) {
    const std::byte* const codes = panels[0] + g * GroupCodeBytes(kKind);
    const std::byte* const params = panels[0] + shape.params + g / shape.scale_groups * ParamBytes(kKind);
    const std::byte* const super = panels[0] + shape.supers + g / kSuperGroups * kSuperBytes;
    for (int64_t lane = 0; lane < kPanelRows; ++lane) {
      constexpr bool six = HasSixBit(kKind);
      float scale;
      float second = 0.0F;  // of second halves that have their own
      if constexpr (HasZero(kKind)) {
        std::memcpy(&scale, params + lane * 4, sizeof(scale));
      } else if constexpr (HasHalves(kKind)) {
        scale = HalfAt(super + lane * 2) * static_cast<float>(static_cast<int8_t>(params[lane]));
        second = HalfAt(super + lane * 2) * static_cast<float>(static_cast<int8_t>(params[kPanelRows + lane]));
      } else {
        scale = six ? HalfAt(super + lane * 2) * static_cast<float>(params[lane]) : HalfAt(params + lane * 2);
      }
      const float minimum =
          six ? HalfAt(super + (kPanelRows + lane) * 2) * static_cast<float>(params[kPanelRows + lane]) : 0.0F;
      const int offset = OffsetOf<kKind>(params, lane);
      for (int c = 0; c < C; ++c) {
        const XGroup& group = x.groups[c * x.per_row + g];
        const int8_t* const xs = x.codes + c * x.stride + g * kGroup;
        int dot = -offset * group.Sum();
        int second_dot = 0;
        for (int64_t k = 0; k < kGroup; ++k) {
          (HasHalves(kKind) && k >= kGroup / 2 ? second_dot : dot) += CodeAt<kKind>(codes, lane, k) * xs[k];
        }
        float& sum = sums[0][c][static_cast<size_t>(lane)];
        sum += static_cast<float>(dot) * (scale * group.scale);
        if constexpr (HasHalves(kKind)) {
          sum += static_cast<float>(second_dot) * (second * group.scale);
        }
        sum = six ? sum - minimum * ScaledSum(group) : sum;
      }
    }
  }
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
