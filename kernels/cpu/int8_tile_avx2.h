// The integer tile with AVX2: a panel's sixteen rows are two registers of four k of eight rows each. Products of codes
// of up to six bits add up in 16 bits over a few quads (31 * 2 * 127 * 4 < 32768); longer ones take the sign from the
// weight to x, so that the unsigned operand is |code| <= 128 and a pair fits (2 * 128 * 127 < 32768). Included by
// linear_int8.cc only.
#pragma once

#include "kernels/cpu/int8_ahead.h"
#include "kernels/cpu/int8_codes_avx2.h"
#include "kernels/quantized_x.h"

#include <immintrin.h>

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr int kMaxHeight = 4;                                                        // rows of x in a tile
constexpr int WidthOf(int height) { return height == 1 ? 4 : height == 2 ? 2 : 1; }  // panels in a tile
struct Sums {  // one panel's outputs of a row of x
  __m256 half[2];
};
using LaneMask = int64_t;  // how many of a panel's rows there are

inline LaneMask MaskOf(int64_t valid) { return valid; }
inline void ClearSums(Sums& sums) { sums.half[0] = sums.half[1] = _mm256_setzero_ps(); }
inline void AddBias(const float* p, LaneMask valid, Sums& sums) {
  alignas(32) float values[kPanelRows] = {};
  std::memcpy(values, p, static_cast<size_t>(valid) * sizeof(float));
  sums.half[0] = _mm256_add_ps(sums.half[0], _mm256_load_ps(values));
  sums.half[1] = _mm256_add_ps(sums.half[1], _mm256_load_ps(values + 8));
}
inline void StoreSums(float* p, LaneMask valid, const Sums& sums) {
  alignas(32) float values[kPanelRows];
  float* const to = valid < kPanelRows ? values : p;
  _mm256_storeu_ps(to, sums.half[0]);
  _mm256_storeu_ps(to + 8, sums.half[1]);
  if (valid < kPanelRows) {
    std::memcpy(p, values, static_cast<size_t>(valid) * sizeof(float));
  }
}
// kLanes values, already whole numbers in [-127, 127].
inline void StoreCodes(int8_t* p, Vec rounded) {
  alignas(64) float values[kLanes];
  Store(values, rounded);
  for (int i = 0; i < kLanes; ++i) {
    p[i] = static_cast<int8_t>(values[i]);
  }
}

// Scales and minima of half of a panel's rows in a group, of each half of the group where it has its own.
template <PackedKind kKind>
struct HalfParams {
  static constexpr PackedTraits kTraits = TraitsOf(kKind);
  __m256 scale[2];
  __m256 minimum[2];
  __m256i zeros;  // what is taken off the codes

  CAUSEWAY_INLINE void Load(const std::byte* params, const std::byte* super, int half) {
    if constexpr (kTraits.params == PackedParams::kZero || kTraits.params == PackedParams::kFloat) {
      scale[0] = _mm256_loadu_ps(reinterpret_cast<const float*>(params) + half * 8);
    } else if constexpr (!kTraits.supers()) {
      scale[0] = HalfFloats(params + half * 16);
      if constexpr (kTraits.minimum()) {
        minimum[0] = HalfFloats(params + kPanelRows * 2 + half * 16);
      }
    } else {
      constexpr int kHalves = kTraits.halves() ? 2 : 1;
      const __m256 d = HalfFloats(super + half * 16);
      CAUSEWAY_UNROLL for (int i = 0; i < kHalves; ++i) {
        scale[i] = _mm256_mul_ps(d, SignedFloats(params + i * kPanelRows + half * 8));
      }
      if constexpr (kTraits.params != PackedParams::kHalves) {
        const __m256 dmin = HalfFloats(super + kSuperBytes / 2 + half * 16);
        CAUSEWAY_UNROLL for (int i = 0; i < kHalves; ++i) {
          const __m256i bytes = EightBytes(params + (kHalves + i) * kPanelRows + half * 8);
          minimum[i] = _mm256_mul_ps(dmin, _mm256_cvtepi32_ps(bytes));
        }
      }
    }
    if constexpr (kTraits.zero()) {
      const __m256i bytes = EightBytes(params + kPanelRows * 4 + half * 8);
      zeros = kTraits.bits == 8
                  ? _mm256_and_si256(_mm256_sub_epi32(bytes, _mm256_set1_epi32(128)), _mm256_set1_epi32(0xffff))
                  : bytes;
    }
  }
};

// sum + the group's integers, scaled, less the minima.
template <PackedKind kKind>
CAUSEWAY_INLINE __m256 FinishGroup(const HalfParams<kKind>& params, const XGroup& group, __m256i first, __m256i second,
                                   __m256 sum) {
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  constexpr int kOffset = OffsetLeft(kTraits);
  if constexpr (kTraits.zero()) {
    first = _mm256_add_epi32(first, _mm256_madd_epi16(params.zeros, MinusSums(group)));
  } else if constexpr (kTraits.halves() && kOffset > 0) {
    const int minus_first = group.minus_sum - group.minus_second_half;
    first = _mm256_add_epi32(first, _mm256_set1_epi32(kOffset * minus_first));
    second = _mm256_add_epi32(second, _mm256_set1_epi32(kOffset * group.minus_second_half));
  } else if constexpr (kOffset > 0) {
    first = _mm256_add_epi32(first, _mm256_set1_epi32(group.minus_eight_sums * (kOffset / 8)));
  }
  const __m256 x_scale = _mm256_set1_ps(group.scale);
  sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(first), _mm256_mul_ps(params.scale[0], x_scale), sum);
  if constexpr (kTraits.minimum()) {
    sum = _mm256_fmadd_ps(params.minimum[0], _mm256_set1_ps(group.minus_scaled_sum), sum);
  }
  if constexpr (kTraits.halves()) {
    sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(second), _mm256_mul_ps(params.scale[1], x_scale), sum);
  }
  if constexpr (kTraits.params == PackedParams::kHalvesMin) {
    sum = _mm256_fmadd_ps(params.minimum[0], _mm256_set1_ps(group.ScaledFirst()), sum);
    sum = _mm256_fmadd_ps(params.minimum[1], _mm256_set1_ps(group.ScaledSecond()), sum);
  }
  return sum;
}

// Adds the groups of R panels times C rows of x to the sums, and asks for what is `ahead`.
template <PackedKind kKind, int R, int C>
CAUSEWAY_INLINE void AddGroups(const std::byte* const (&panels)[R], const PanelShape& shape, const QuantizedX& x,
                               const Ahead& ahead, Sums (&sums)[R][C]) {
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  constexpr int64_t kCodeBytes = kTraits.code_bytes();
  constexpr int64_t kTogether = kTraits.wide ? kWideGroups : 1;  // groups of the weight in one of x
  constexpr int kFirstEnd = kTraits.halves() ? kQuads / 2 : kQuads;
  const int scale_shift = __builtin_ctzll(static_cast<uint64_t>(shape.scale_groups));
  const std::byte* codes[R];
  CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) { codes[r] = panels[r]; }
  for (int64_t g = 0; g < x.per_row; ++g) {
    AskAhead(ahead, g);
    const int64_t scale_group = kTraits.wide ? g : kTraits.zero() ? g >> scale_shift : g;
    const std::byte* const row = x.data + g * x.group_bytes();
    CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) {
      CAUSEWAY_UNROLL for (int half = 0; half < 2; ++half) {
        HalfParams<kKind> params;
        params.Load(panels[r] + shape.params + scale_group * kTraits.param_bytes(),
                    panels[r] + shape.supers + g / kSuperGroups * kSuperBytes, half);
        __m256i first[C];
        __m256i second[C];
        CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) { first[c] = second[c] = _mm256_setzero_si256(); }
        for (int64_t i = 0; i < kTogether; ++i) {
          const std::byte* const own = codes[r] + i * kCodeBytes + half * 32;
          CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
            const std::byte* const xs = row + c * x.stride + i * kGroup;
            first[c] = _mm256_add_epi32(first[c], DotRange<kKind, 0, kFirstEnd>(own, xs));
            if constexpr (kTraits.halves()) {
              second[c] = _mm256_add_epi32(second[c], DotRange<kKind, kFirstEnd, kQuads>(own, xs));
            }
          }
        }
        CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
          const auto& group = *reinterpret_cast<const XGroup*>(row + c * x.stride + kTogether * kGroup);
          __m256& sum = sums[r][c].half[half];
          sum = FinishGroup<kKind>(params, group, first[c], second[c], sum);
        }
      }
      codes[r] += kTogether * kCodeBytes;
    }
  }
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
