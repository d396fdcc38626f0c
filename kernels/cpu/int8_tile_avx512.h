// The integer tile with AVX-512 VNNI: a register holds four k of sixteen rows, vpdpbusd adds their products with a
// broadcast four of x. Weights are the unsigned operand; the offset that makes them so is in the accumulator from the
// start (-8, -128 or the zero point times the sum of x's codes), exactly. Included by linear_int8.cc only.
#pragma once

#include "kernels/cpu/int8_vec_avx512.h"
#include "kernels/packed.h"
#include "kernels/quantized_x.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr int kMaxHeight = 6;  // rows of x in a tile
// Panels in a tile: about a dozen sums of integers keep the multipliers busy, and as many of floats fit beside them.
constexpr int WidthOf(int height) { return height <= 2 ? 4 : height <= 4 ? 3 : 2; }

// What the integers of a group start from: the offset of unsigned codes, and the zero points, times the sum of x's
// codes, taken off.
template <PackedKind kKind>
CAUSEWAY_INLINE __m512i StartOf(__m512i sum, __m512i zeros) {
  if constexpr (HasZero(kKind)) {
    return _mm512_sub_epi32(_mm512_setzero_si512(), MultiplySmall(zeros, sum));
  } else if constexpr (HasSixBit(kKind)) {
    return _mm512_setzero_si512();
  } else {
    constexpr int kShift = HasBytes(kKind) ? 7 : 3;
    return _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(sum, kShift));
  }
}
template <PackedKind kKind>
CAUSEWAY_INLINE __m512i LoadZeros(const std::byte* panel, const PanelShape& shape, int64_t scale_group) {
  if constexpr (HasZero(kKind)) {
    const __m512i zeros = SixteenBytes(panel + shape.params + scale_group * ParamBytes(kKind) + kPanelRows * 4);
    return kKind == PackedKind::kBytesZero ? _mm512_xor_si512(zeros, _mm512_set1_epi32(0x80)) : zeros;
  } else {
    return _mm512_setzero_si512();
  }
}

// Scales (and minima) of a panel's rows in group g.
template <PackedKind kKind>
CAUSEWAY_INLINE void LoadScales(const std::byte* panel, const PanelShape& shape, int64_t g, int64_t scale_group,
                                Vec& scale, Vec& minimum) {
  const std::byte* const params = panel + shape.params + scale_group * ParamBytes(kKind);
  if constexpr (HasZero(kKind)) {
    scale = Load(reinterpret_cast<const float*>(params));
  } else if constexpr (HasHalves(kKind)) {  // the second one in the minimum's place
    const Vec d = LoadF16(panel + shape.supers + g / kSuperGroups * kSuperBytes);
    scale = Mul(d, ToFloats(SixteenSignedBytes(params)));
    minimum = Mul(d, ToFloats(SixteenSignedBytes(params + kPanelRows)));
  } else if constexpr (HasSixBit(kKind)) {
    const std::byte* const super = panel + shape.supers + g / kSuperGroups * kSuperBytes;
    scale = Mul(LoadF16(super), ToFloats(SixteenBytes(params)));
    minimum = Mul(LoadF16(super + kSuperBytes / 2), ToFloats(SixteenBytes(params + kPanelRows)));
  } else {
    scale = LoadF16(params);
  }
}

// Adds a group's integers, scaled, to the sums.
template <PackedKind kKind, int R, int C>
CAUSEWAY_INLINE void FinishGroup(const std::byte* const (&panels)[R], const PanelShape& shape, const QuantizedX& x,
                                 int64_t g, int64_t scale_group, const __m512i (&acc)[R][C],
                                 const __m512i (&halves)[R][C], Sums (&sums)[R][C]) {
  Vec scale[R];
  Vec minimum[R];
  CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) {
    LoadScales<kKind>(panels[r], shape, g, scale_group, scale[r], minimum[r]);
  }
  CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
    const XGroup& group = x.groups[c * x.per_row + g];
    const Vec x_scale = Set1(group.scale);
    const Vec minus_sum = Mul(x_scale, ToFloats(_mm512_sub_epi32(_mm512_setzero_si512(), PairSums(group.half_sums))));
    CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) {
      sums[r][c] = Fma(ToFloats(acc[r][c]), Mul(scale[r], x_scale), sums[r][c]);
      if constexpr (HasSixBit(kKind)) {
        sums[r][c] = Fma(minimum[r], minus_sum, sums[r][c]);
      }
      if constexpr (HasHalves(kKind)) {
        sums[r][c] = Fma(ToFloats(halves[r][c]), Mul(minimum[r], x_scale), sums[r][c]);
      }
    }
  }
}

// Adds the groups of R panels times C rows of x to the sums, and asks for what is `ahead`.
template <PackedKind kKind, int R, int C>
CAUSEWAY_INLINE void AddGroups(const std::byte* const (&panels)[R], const PanelShape& shape, const QuantizedX& x,
                               const Ahead& ahead, Sums (&sums)[R][C]) {
  constexpr int64_t kCodeBytes = GroupCodeBytes(kKind);
  const __m512i nibble = _mm512_set1_epi8(0xf);
  const int scale_shift = __builtin_ctzll(static_cast<uint64_t>(shape.scale_groups));
  for (int64_t g = 0; g < x.per_row; ++g) {
    if (ahead.next != nullptr) {
      for (int64_t line = 0; line < ahead.each; ++line) {
        __builtin_prefetch(ahead.next + (g * ahead.each + line) * 64, 0, 2);
      }
    }
    const int64_t scale_group = HasZero(kKind) ? g >> scale_shift : g;
    __m512i acc[R][C];
    __m512i halves[R][C];  // of second halves of groups that have their own scales
    CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) {
      const __m512i zeros = LoadZeros<kKind>(panels[r], shape, scale_group);
      CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
        const XGroup& group = x.groups[c * x.per_row + g];
        if constexpr (HasHalves(kKind)) {
          acc[r][c] = StartOf<kKind>(_mm512_set1_epi32(group.half_sums[0]), zeros);
          halves[r][c] = StartOf<kKind>(_mm512_set1_epi32(group.half_sums[1]), zeros);
        } else {
          acc[r][c] = StartOf<kKind>(PairSums(group.half_sums), zeros);
        }
      }
    }
    CAUSEWAY_UNROLL for (int64_t j = 0; j < kCodeBytes / 64; ++j) {
      const int8_t* const codes = x.codes + g * kGroup + j * 4;
      __m512i first[R];
      __m512i second[R];
      CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) {
        const std::byte* const at = panels[r] + g * kCodeBytes + j * 64;
        const __m512i stored = LoadBytes(at);
        if (ahead.each < 0) {
          __builtin_prefetch(at + kAheadInStream, 0, 3);
        }
        if constexpr (kKind == PackedKind::kBytesSixBit) {
          first[r] = stored;
        } else if constexpr (HasBytes(kKind)) {
          first[r] = _mm512_xor_si512(stored, _mm512_set1_epi8(static_cast<char>(0x80)));
        } else {
          first[r] = _mm512_and_si512(stored, nibble);
          second[r] = _mm512_and_si512(_mm512_srli_epi16(stored, 4), nibble);
        }
      }
      CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
        const __m512i four = BroadcastFour(codes + c * x.stride);
        CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) {
          __m512i& sum = HasHalves(kKind) && j >= kCodeBytes / 128 ? halves[r][c] : acc[r][c];
          sum = DotBytes(sum, first[r], four);
        }
      }
      if constexpr (!HasBytes(kKind)) {
        CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
          const __m512i four = BroadcastFour(codes + c * x.stride + kGroup / 2);
          CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) { acc[r][c] = DotBytes(acc[r][c], second[r], four); }
        }
      }
    }
    FinishGroup<kKind, R, C>(panels, shape, x, g, scale_group, acc, halves, sums);
  }
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
