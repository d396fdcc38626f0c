// The integer tile in plain C++: what the vector ones compute, one output at a time, a product and a sum rounded apart.
// Included by linear_int8.cc only.
#pragma once

#include <array>
#include <utility>

#include "kernels/cpu/ahead.h"
#include "kernels/packed.h"
#include "kernels/packed_supers.h"
#include "kernels/quant/group_blocks.h"
#include "kernels/quantized_x.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr int kMaxHeight = 4;
constexpr int WidthOf(int) { return 1; }
constexpr bool kScalesIntegers = false;
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
inline void StreamSums(float* p, const Sums& sums) { StoreSums(p, kPanelRows, sums); }
inline void EndStreaming() {}
inline void StoreCodes(int8_t* p, Vec rounded) {
  for (int i = 0; i < kLanes; ++i) {
    p[i] = static_cast<int8_t>(rounded.v[i]);
  }
}

// Bits of code k of a group of row `lane`, from a plane.
template <int kBits>
inline int FieldAt(const std::byte* plane, int64_t lane, int64_t k) {
  constexpr int64_t kInVector = 8 / kBits;
  const int64_t quad = k / 4;
  const int64_t vector = kBits == 4 ? quad % 4 : quad / kInVector;
  const int64_t shift = kBits == 4 ? quad / 4 * 4 : quad % kInVector * kBits;
  return (static_cast<int>(plane[vector * 64 + lane * 4 + k % 4]) >> shift) & ((1 << kBits) - 1);
}
// Code k, or what the table holds for it, plus the offset.
template <PackedKind kKind>
inline int CodeAt(const std::byte* codes, int64_t lane, int64_t k) {
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  int code = FieldAt<kTraits.low_bits()>(codes, lane, k);
  if constexpr (kTraits.high_bits() > 0) {
    code |= FieldAt<kTraits.high_bits()>(codes + kTraits.low_bits() * 64, lane, k) << kTraits.low_bits();
  }
  if constexpr (kTraits.table != PackedTable::kNone) {
    code = NumberOf(kTraits.table, code) + kTraits.offset;
  }
  return code;
}

inline float HalfNumber(const std::byte* halves, int64_t lane) {
  uint16_t half;
  std::memcpy(&half, halves + lane * 2, sizeof(half));
  return HalfToFloat(half);
}

// Scales and minima of a row in a group, of each half where it has its own.
struct RowParams {
  float scale[2];
  float minimum[2];
};
template <PackedKind kKind>
inline RowParams ParamsOf(const std::byte* panel, const GroupPlace& place, int64_t lane) {
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  const std::byte* const params = panel + place.params;
  const std::byte* const super = panel + place.super;
  RowParams out{};
  if constexpr (kTraits.float_scale()) {
    std::memcpy(out.scale, params + lane * 4, sizeof(float));
  } else if constexpr (kTraits.params == PackedParams::kBrainFloat) {
    uint16_t upper;
    std::memcpy(&upper, params + lane * 2, sizeof(upper));
    out.scale[0] = BFloatToFloat(upper);
  } else if constexpr (kTraits.params == PackedParams::kHalvesE4M3) {
    float d;
    std::memcpy(&d, super + lane * 4, sizeof(d));
    for (int i = 0; i < 2; ++i) {
      out.scale[i] = d * E4M3ToFloat(static_cast<uint8_t>(params[i * kPanelRows + lane]));
    }
  } else if constexpr (kTraits.params == PackedParams::kHalvesZero) {
    for (int i = 0; i < 2; ++i) {
      out.scale[i] = HalfNumber(params + i * kPanelRows * 2, lane);
      out.minimum[i] = out.scale[i] * HalfNumber(params + (2 + i) * kPanelRows * 2, lane);
    }
  } else if constexpr (!kTraits.supers()) {
    out.scale[0] = HalfNumber(params, lane);
    out.minimum[0] = kTraits.minimum() ? HalfNumber(params + kPanelRows * 2, lane) : 0.0F;
  } else {
    for (int i = 0; i < (kTraits.halves() ? 2 : 1); ++i) {
      const SuperNumber number =
          ReadSuperNumber(kTraits.params, panel + place.begin, SuperNumberAt(kTraits, place.at, i, lane));
      out.scale[i] = HalfNumber(super, lane) * static_cast<float>(number.scale);
      if constexpr (kTraits.minimum() || kTraits.half_minima()) {
        out.minimum[i] = HalfNumber(super + kSuperBytes / 2, lane) * static_cast<float>(number.minimum);
      }
    }
  }
  return out;
}

// A group's integers of one row of a panel and one of x, scaled, less the minima; without the scale of x, where that
// joins late.
template <PackedKind kKind>
inline float GroupProduct(const std::byte* codes, const RowParams& params, int offset, int64_t lane,
                          const std::byte* x) {
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  constexpr int64_t kValues = XShapeOf({kKind}).group;
  XGroup group;
  std::memcpy(&group, x + kValues, sizeof(group));
  int dots[2] = {};
  for (int64_t k = 0; k < kValues; ++k) {
    const int code = CodeAt<kKind>(codes + k / kGroup * kTraits.code_bytes(), lane, k % kGroup) - offset;
    dots[kTraits.halves() && k >= kGroup / 2 ? 1 : 0] += code * static_cast<int8_t>(x[k]);
  }
  float sum = static_cast<float>(dots[0]) * (kTraits.x_joins_late() ? params.scale[0] : params.scale[0] * group.scale);
  if constexpr (kTraits.minimum()) {
    sum += params.minimum[0] * group.minus_scaled_sum;
  }
  if constexpr (kTraits.half_minima()) {
    sum += params.minimum[0] * group.MinusFirst();
  }
  if constexpr (kTraits.halves()) {
    sum += static_cast<float>(dots[1]) * params.scale[1];
  }
  if constexpr (kTraits.half_minima()) {
    sum += params.minimum[1] * group.MinusSecond();
  }
  return sum;
}

constexpr bool kCanUnpack = false;
constexpr bool UnpacksCodes(const PackedTraits&) { return false; }
constexpr bool UnpacksSigns(const PackedTraits&) { return false; }
constexpr int64_t UnpackedCodeBytes(const PackedTraits&) { return 0; }
constexpr int64_t UnpackedParamBytes(const PackedTraits&) { return 0; }
template <PackedKind kKind, int... kQuad>
void UnpackCodes(const std::byte*, std::byte*, std::integer_sequence<int, kQuad...>) {}
template <PackedKind kKind>
void UnpackParams(const std::byte*, const PanelShape&, int64_t, std::byte*) {}

// Adds the groups of R panels times C rows of x to the sums.
template <PackedKind kKind, int R, int C, bool kUnpacked>
void AddGroups(const std::byte* const (&panels)[R], const std::byte* const (&)[R], const PanelShape& shape,
               const QuantizedX& x, const Ahead&, Sums (&sums)[R][C]) {
  static_assert(R == 1 && !kUnpacked);
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  constexpr XShape kShape = XShapeOf({kKind});
  constexpr int64_t kPacked = kShape.group / kGroup;  // groups of the weight in one of x
  Sums scaled[C];
  for (int64_t g = 0; g < x.per_row; ++g) {
    const GroupPlace at(shape, g * kPacked);
    const std::byte* const codes = panels[0] + at.codes;
    const std::byte* const params = panels[0] + at.params;
    const bool begins = g % kShape.scale_groups == 0;
    const bool ends = (g + 1) % kShape.scale_groups == 0;
    for (size_t lane = 0; lane < kPanelRows; ++lane) {
      const auto row = static_cast<int64_t>(lane);
      const RowParams numbers = ParamsOf<kKind>(panels[0], at, row);
      const int offset = kTraits.zero() ? static_cast<int>(params[kPanelRows * 4 + lane]) : kTraits.offset;
      for (int c = 0; c < C; ++c) {
        const std::byte* const from = x.Row(c) + g * kShape.group_bytes();
        const float product = GroupProduct<kKind>(codes, numbers, offset, row, from);
        float& sum = scaled[c][lane];
        sum = begins ? product : sum + product;
        if (ends) {
          float x_scale = 1.0F;
          if constexpr (kTraits.x_joins_late()) {
            std::memcpy(&x_scale, from + kShape.group, sizeof(x_scale));  // XGroup::scale
          }
          sums[0][c][lane] += sum * x_scale;
        }
      }
    }
  }
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
