// The integer tile with AVX2: a panel's sixteen rows are two registers of four k of eight rows each. Products of codes
// of up to six bits add up in 16 bits over a few quads (31 * 2 * 127 * 4 < 32768); longer ones take the sign from the
// weight to x, so that the unsigned operand is |code| <= 128 and a pair fits (2 * 128 * 127 < 32768). With AVX-VNNI all
// codes are unsigned and add up in 32 bits. Both halves of a panel share what is read of x. Included by linear_int8.cc
// only.
#pragma once

#include <utility>

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
#if defined(CAUSEWAY_ISA_AVX512)
inline void StoreCodes(int8_t* p, Vec rounded) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(rounded)));
}
#else
inline void StoreCodes(int8_t* p, Vec rounded) {
  const __m256i whole = _mm256_cvtps_epi32(rounded);
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
}
#endif

// Half of a panel's rows, and the numbers that a group of theirs is scaled with.
template <PackedKind kKind>
struct HalfParams {
  static constexpr PackedTraits kTraits = TraitsOf(kKind);
  const std::byte* params;
  const std::byte* super;
  int64_t half;

  // Of all of the group, or of its half `section` where halves have their own.
  CAUSEWAY_INLINE __m256 Scale(int section) const {
    if constexpr (kTraits.params == PackedParams::kZero || kTraits.params == PackedParams::kFloat) {
      return _mm256_loadu_ps(reinterpret_cast<const float*>(params) + half * 8);
    } else if constexpr (kTraits.supers()) {
      return _mm256_mul_ps(HalfFloats(super + half * 16), SignedFloats(params + section * kPanelRows + half * 8));
    } else {
      return HalfFloats(params + half * 16);
    }
  }
  CAUSEWAY_INLINE __m256 Minimum(int section) const {
    if constexpr (kTraits.supers()) {
      const int64_t before = (kTraits.halves() ? 2 : 1) + section;
      const __m256i bytes = EightBytes(params + before * kPanelRows + half * 8);
      return _mm256_mul_ps(HalfFloats(super + kSuperBytes / 2 + half * 16), _mm256_cvtepi32_ps(bytes));
    } else {
      return HalfFloats(params + kPanelRows * 2 + half * 16);
    }
  }
  // As pairs of 16 bits, the upper ones 0.
  CAUSEWAY_INLINE __m256i Zeros() const {
    const __m256i bytes = EightBytes(params + kPanelRows * 4 + half * 8);
    return IsSigned(kTraits)
               ? _mm256_and_si256(_mm256_sub_epi32(bytes, _mm256_set1_epi32(128)), _mm256_set1_epi32(0xffff))
               : bytes;
  }
};

// The sum of x's codes times what is to be taken off the weight's: an offset, or zero points.
template <PackedKind kKind, int kSection>
CAUSEWAY_INLINE __m256i OffsetSum(const HalfParams<kKind>& params, const XGroup& group) {
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  constexpr int kOffset = OffsetLeft(kTraits);
  if constexpr (kTraits.zero()) {
    return _mm256_madd_epi16(params.Zeros(), MinusSums(group));
  } else if constexpr (kOffset == 0) {
    return _mm256_setzero_si256();
  } else if constexpr (kTraits.halves()) {
    constexpr int kBoth = kSection == 0 ? (kOffset | -kOffset * 65536) : kOffset * 65536;
    return _mm256_madd_epi16(MinusSums(group), _mm256_set1_epi32(kBoth));
  } else {
    constexpr int kShift = __builtin_ctz(static_cast<unsigned>(kOffset)) - 3;
    return _mm256_slli_epi32(_mm256_set1_epi32(group.minus_eight_sums), kShift);
  }
}

// The integers of H halves of panels and C rows of x in a group, or in half of one that has its own scales.
template <PackedKind kKind, int H, int C>
struct Dots {
  static constexpr PackedTraits kTraits = TraitsOf(kKind);
  using Halves = HalfParams<kKind>[H];
  using Groups = const XGroup* [C];
  __m256i whole[H][C];

  // The sums that carry the offset from their start on are VNNI's; others would have to add it to a product anyway.
  template <int kSection>
  CAUSEWAY_INLINE void Start(const Halves& halves, const Groups& groups) {
    CAUSEWAY_UNROLL for (int h = 0; h < H; ++h) {
      CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
        whole[h][c] = kHasVnni ? OffsetSum<kKind, kSection>(halves[h], *groups[c]) : _mm256_setzero_si256();
      }
    }
  }

  // Quads from the `kFirst`th of their order on, kCount of them.
  template <int kFirst, int kCount>
  CAUSEWAY_INLINE void AddQuads(const std::byte* const (&codes)[H / 2], const std::byte* const (&x)[C]) {
    if constexpr (kHasVnni || IsSigned(kTraits)) {
      AddEach<kFirst>(codes, x, whole, std::make_integer_sequence<int, kCount>());
    } else {
      constexpr int kStep = QuadsTogether(kTraits) < kCount ? QuadsTogether(kTraits) : kCount;
      __m256i pairs[H][C];
      CAUSEWAY_UNROLL for (int h = 0; h < H; ++h) {
        CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) { pairs[h][c] = _mm256_setzero_si256(); }
      }
      AddEach<kFirst>(codes, x, pairs, std::make_integer_sequence<int, kStep>());
      CAUSEWAY_UNROLL for (int h = 0; h < H; ++h) {
        CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
          whole[h][c] = _mm256_add_epi32(whole[h][c], WidenPairs(pairs[h][c]));
        }
      }
      if constexpr (kStep < kCount) {
        AddQuads<kFirst + kStep, kCount - kStep>(codes, x);
      }
    }
  }

  // sums += the integers, scaled, less the minimum.
  template <int kSection>
  CAUSEWAY_INLINE void Finish(const Halves& halves, const Groups& groups, Sums (&sums)[H / 2][C]) const {
    CAUSEWAY_UNROLL for (int h = 0; h < H; ++h) {
      const __m256 scale = halves[h].Scale(kSection);
      __m256 minimum;
      if constexpr (kTraits.minimum()) {
        minimum = halves[h].Minimum(0);
      }
      CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
        __m256i dot = whole[h][c];
        if constexpr (!kHasVnni) {
          dot = _mm256_add_epi32(dot, OffsetSum<kKind, kSection>(halves[h], *groups[c]));
        }
        __m256& sum = sums[h / 2][c].half[h % 2];
        sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), _mm256_mul_ps(scale, _mm256_set1_ps(groups[c]->scale)), sum);
        if constexpr (kTraits.minimum()) {
          sum = _mm256_fmadd_ps(minimum, _mm256_set1_ps(groups[c]->minus_scaled_sum), sum);
        }
      }
    }
  }

 private:
  template <int kFirst, int... kAt>
  CAUSEWAY_INLINE void AddEach(const std::byte* const (&codes)[H / 2], const std::byte* const (&x)[C],
                               __m256i (&to)[H][C], std::integer_sequence<int, kAt...>) {
    (AddQuad<QuadAt(kTraits, kFirst + kAt)>(codes, x, to), ...);
  }
  template <int kQuad>
  CAUSEWAY_INLINE void AddQuad(const std::byte* const (&codes)[H / 2], const std::byte* const (&x)[C],
                               __m256i (&to)[H][C]) {
    __m256i weights[H];
    CAUSEWAY_UNROLL for (int h = 0; h < H; ++h) { weights[h] = LoadQuad<kKind, kQuad>(codes[h / 2] + h % 2 * 32); }
    CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
      const __m256i four = BroadcastFour(x[c] + kQuad * 4);
      CAUSEWAY_UNROLL for (int h = 0; h < H; ++h) {
        to[h][c] = AddProducts<kKind>(to[h][c], weights[h], four);
        asm volatile("" : "+v"(to[h][c]));  // in its register: else g++ multiplies far ahead and stores the products
      }
    }
  }
};

// sums less the minima of both halves of a group.
template <PackedKind kKind, int H, int C>
CAUSEWAY_INLINE void TakeMinima(const HalfParams<kKind> (&halves)[H], const XGroup* const (&groups)[C],
                                Sums (&sums)[H / 2][C]) {
  CAUSEWAY_UNROLL for (int h = 0; h < H; ++h) {
    const __m256 minima[] = {halves[h].Minimum(0), halves[h].Minimum(1)};
    CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
      __m256& sum = sums[h / 2][c].half[h % 2];
      sum = _mm256_fmadd_ps(minima[0], _mm256_set1_ps(groups[c]->ScaledFirst()), sum);
      sum = _mm256_fmadd_ps(minima[1], _mm256_set1_ps(groups[c]->ScaledSecond()), sum);
    }
  }
}

// Adds the groups of R panels times C rows of x to the sums, and asks for what is `ahead`.
template <PackedKind kKind, int R, int C>
CAUSEWAY_INLINE void AddGroups(const std::byte* const (&panels)[R], const PanelShape& shape, const QuantizedX& x,
                               const Ahead& ahead, Sums (&sums)[R][C]) {
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  constexpr int H = 2 * R;
  constexpr int64_t kCodeBytes = kTraits.code_bytes();
  constexpr int64_t kTogether = kTraits.wide ? kWideGroups : 1;  // groups of the weight in one of x
  const int scale_shift = __builtin_ctzll(static_cast<uint64_t>(shape.scale_groups));
  const std::byte* codes[R];
  const std::byte* rows[C];
  CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) { codes[r] = panels[r]; }
  CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) { rows[c] = x.Row(c); }
  for (int64_t g = 0; g < x.per_row; ++g) {
    AskAhead(ahead, g);
    const int64_t scale_group = kTraits.wide ? g : kTraits.zero() ? g >> scale_shift : g;
    HalfParams<kKind> halves[H];
    const XGroup* groups[C];
    CAUSEWAY_UNROLL for (int h = 0; h < H; ++h) {
      halves[h] = {panels[h / 2] + shape.params + scale_group * kTraits.param_bytes(),
                   panels[h / 2] + shape.supers + g / kSuperGroups * kSuperBytes, h % 2};
    }
    CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
      groups[c] = reinterpret_cast<const XGroup*>(rows[c] + kTogether * kGroup);
    }
    Dots<kKind, H, C> dots;
    if constexpr (kTraits.halves()) {
      dots.template Start<0>(halves, groups);
      dots.template AddQuads<0, kQuads / 2>(codes, rows);
      dots.template Finish<0>(halves, groups, sums);
      dots.template Start<1>(halves, groups);
      dots.template AddQuads<kQuads / 2, kQuads / 2>(codes, rows);
      dots.template Finish<1>(halves, groups, sums);
    } else {
      dots.template Start<0>(halves, groups);
    }
    for (int64_t i = 0; i < kTogether; ++i) {
      if constexpr (!kTraits.halves()) {
        dots.template AddQuads<0, kQuads>(codes, rows);
      }
      CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) { codes[r] += kCodeBytes; }
      CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) { rows[c] += kGroup; }
    }
    if constexpr (!kTraits.halves()) {
      dots.template Finish<0>(halves, groups, sums);
    } else if constexpr (kTraits.params == PackedParams::kHalvesMin) {
      TakeMinima<kKind, H, C>(halves, groups, sums);
    }
    CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) { rows[c] += sizeof(XGroup); }
  }
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
