// The integer tile with AVX-512 VNNI: a register holds four k of sixteen rows, vpdpbusd adds their products with a
// broadcast four of x. Weights are the unsigned operand; what is to be taken off their codes, times the sum of x's, is
// in the accumulator from the start, exactly. Included by linear_int8.cc only.
#pragma once

#include <utility>

#include "kernels/cpu/int8_ahead.h"
#include "kernels/cpu/int8_codes_avx512.h"
#include "kernels/cpu/int8_params_avx512.h"
#include "kernels/packed.h"
#include "kernels/quantized_x.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr bool kCanUnpack = true;
constexpr int kMaxHeight = 6;  // rows of x in a tile
// Panels in a tile: about a dozen sums of integers keep the multipliers busy, and as many of floats fit beside them.
constexpr int WidthOf(int height) { return height <= 2 ? 1 : height <= 4 ? 3 : 2; }

// What the integers of a group start from; of groups whose halves have scales of their own, those of half `kHalf`.
template <PackedKind kKind, int kHalf>
CAUSEWAY_INLINE __m512i StartOf(const XGroup& group, __m512i zeros) {
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  if constexpr (kTraits.zero()) {
    return MultiplyPairs(zeros, MinusSums(group));
  } else if constexpr (kTraits.offset == 0) {
    return _mm512_setzero_si512();
  } else if constexpr (kTraits.halves()) {
    constexpr int kBoth = kHalf == 0 ? (kTraits.offset | -kTraits.offset * 65536) : kTraits.offset * 65536;
    return MultiplyPairs(MinusSums(group), _mm512_set1_epi32(kBoth));
  } else {
    constexpr int kShift = __builtin_ctz(static_cast<unsigned>(kTraits.offset)) - 3;
    const __m512i start = _mm512_set1_epi32(group.minus_eight_sums);
    return kShift == 0 ? start : _mm512_slli_epi32(start, kShift);
  }
}

// The integers of a tile in a group: of second halves that have their own scales apart, as of low halves of long
// numbers.
template <PackedKind kKind, int R, int C, bool kCodesMade>
struct Dots {
  static constexpr PackedTraits kTraits = TraitsOf(kKind);
  __m512i first[R][C];
  __m512i second[R][C];

  CAUSEWAY_INLINE void Start(const std::byte* const (&params)[R], const XGroup* const (&groups)[C]) {
    CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) {
      __m512i zeros = _mm512_setzero_si512();
      if constexpr (kTraits.zero()) {
        zeros = SixteenBytes(params[r] + kPanelRows * 4);
      }
      CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
        first[r][c] = StartOf<kKind, 0>(*groups[c], zeros);
        if constexpr (kTraits.halves()) {
          second[r][c] = StartOf<kKind, 1>(*groups[c], zeros);
        } else if constexpr (kTraits.long_numbers()) {
          second[r][c] = _mm512_setzero_si512();
        }
      }
    }
  }

  template <int kQuad>
  CAUSEWAY_INLINE void AddQuad(const std::byte* const (&codes)[R], const std::byte* const (&x)[C]) {
    Quad weights[R];
    CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) { weights[r] = LoadQuad<kKind, kQuad, kCodesMade>(codes[r]); }
    CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
      const __m512i four = BroadcastFour(x[c] + kQuad * 4);
      CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) {
        __m512i& sum = kTraits.halves() && kQuad >= kQuads / 2 ? second[r][c] : first[r][c];
        sum = DotBytes(sum, weights[r].high, four);
        if constexpr (kTraits.long_numbers()) {
          second[r][c] = DotBytes(second[r][c], weights[r].low, four);
        }
      }
    }
  }
  template <int... kQuad>
  CAUSEWAY_INLINE void AddGroup(const std::byte* const (&codes)[R], const std::byte* const (&x)[C],
                                std::integer_sequence<int, kQuad...>) {
    (AddQuad<kQuad>(codes, x), ...);
  }

  // sums += the integers, scaled, less the minima. Halves are added up before the scale of x meets them.
  CAUSEWAY_INLINE void Finish(const GroupParams<kKind> (&params)[R], const XGroup* const (&groups)[C],
                              Sums (&sums)[R][C]) const {
    CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
      const XGroup& group = *groups[c];
      const Vec x_scale = Set1(group.scale);
      CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) {
        __m512i whole = first[r][c];
        if constexpr (kTraits.long_numbers()) {
          whole = _mm512_add_epi32(_mm512_slli_epi32(whole, 7), second[r][c]);
        }
        Vec sum = sums[r][c];
        if constexpr (kTraits.halves()) {
          const Vec both = Fma(ToFloats(second[r][c]), params[r].scale[1], Mul(ToFloats(whole), params[r].scale[0]));
          sum = Fma(both, x_scale, sum);
        } else {
          sum = Fma(ToFloats(whole), Mul(params[r].scale[0], x_scale), sum);
        }
        if constexpr (kTraits.minimum()) {
          sum = Fma(params[r].minimum[0], Set1(group.minus_scaled_sum), sum);
        } else if constexpr (kTraits.half_minima()) {
          sum = Fma(params[r].minimum[0], Set1(group.ScaledFirst()), sum);
          sum = Fma(params[r].minimum[1], Set1(group.ScaledSecond()), sum);
        }
        sums[r][c] = sum;
      }
    }
  }
};

// Adds the groups of R panels times C rows of x to the sums, and asks for what is `ahead`. kUnpacked: what the kind
// unpacks is taken from `unpacked`.
template <PackedKind kKind, int R, int C, bool kUnpacked>
CAUSEWAY_INLINE void AddGroups(const std::byte* const (&panels)[R], const std::byte* const (&unpacked)[R],
                               const PanelShape& shape, const QuantizedX& x, const Ahead& ahead, Sums (&sums)[R][C]) {
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  constexpr bool kCodesMade = kUnpacked && kTraits.unpacks_codes();
  constexpr bool kParamsMade = kUnpacked && kTraits.unpacks_params();
  constexpr int64_t kCodeBytes = kCodesMade ? kTraits.unpacked_code_bytes() : kTraits.code_bytes();
  constexpr int64_t kTogether = kTraits.wide ? kWideGroups : 1;  // groups of the weight in one of x
  constexpr int64_t kXBytes = kTogether * kGroup;
  // Low and high nibbles of the same bytes one after the other.
  using Order = std::integer_sequence<int, 0, 4, 1, 5, 2, 6, 3, 7>;
  const int param_shift = __builtin_ctzll(static_cast<uint64_t>(shape.param_groups));
  const int super_shift = __builtin_ctzll(static_cast<uint64_t>(kTraits.supers() ? kSuperGroups : shape.super_groups));
  const std::byte* codes[R];
  const std::byte* rows[C];
  CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) { codes[r] = kCodesMade ? unpacked[r] : panels[r]; }
  CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) { rows[c] = x.Row(c); }
  for (int64_t g = 0; g < x.per_row; ++g) {
    AskAhead(ahead, g);
    const int64_t param_group = kTraits.float_scale() && !kTraits.wide ? g >> param_shift : g;
    const std::byte* params[R];
    const XGroup* groups[C];
    CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) {
      params[r] = panels[r] + shape.params + param_group * kTraits.param_bytes();
    }
    CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) { groups[c] = reinterpret_cast<const XGroup*>(rows[c] + kXBytes); }
    Dots<kKind, R, C, kCodesMade> dots;
    dots.Start(params, groups);
    for (int64_t i = 0; i < kTogether; ++i) {
      dots.AddGroup(codes, rows, Order());
      CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) { codes[r] += kCodeBytes; }
      CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) { rows[c] += kGroup; }
    }
    GroupParams<kKind> numbers[R];
    CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) {
      if constexpr (kParamsMade) {
        const std::byte* const made = unpacked[r] + x.per_row * kTogether * kTraits.unpacked_code_bytes();
        numbers[r].LoadUnpacked(reinterpret_cast<const float*>(made + g * kTraits.unpacked_param_bytes()));
      } else {
        numbers[r].Load(params[r], panels[r] + shape.supers + (g >> super_shift) * kSuperBytes);
      }
    }
    dots.Finish(numbers, groups, sums);
    CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) { rows[c] += sizeof(XGroup); }
  }
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
