// The integers of a tile, and how they come to its sums. Included by int8_tile_avx2.h only.
#pragma once

#include <utility>

#include "kernels/cpu/int8_params_avx2.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

// The integers of H halves of panels and C rows of x in a group, or in half of one that has its own scales.
template <PackedKind kKind, int H, int C, bool kUnpacked>
struct Dots {
  static constexpr bool kCodesMade = kUnpacked && TraitsOf(kKind).unpacks_codes();
  static constexpr bool kParamsMade = kUnpacked && TraitsOf(kKind).unpacks_params();
  static constexpr PackedTraits kTraits = TraitsOf(kKind);
  using Halves = HalfParams<kKind, kParamsMade>[H];
  using Groups = const XGroup* [C];
  __m256i whole[H][C];
  __m256 first_half[H][C];  // scaled with the weight's scale, where halves have their own

  // The sums that carry the offset from their start on are VNNI's; others would have to add it to a product anyway.
  template <int kSection>
  CAUSEWAY_INLINE void Start(const Halves& halves, const Groups& groups) {
    CAUSEWAY_UNROLL for (int h = 0; h < H; ++h) {
      CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
        whole[h][c] = kHasVnni ? OffsetSum<kKind, kSection>(halves[h], *groups[c]) : _mm256_setzero_si256();
      }
    }
  }

  // Quads from the `kFirst`th of their order on, kCount of them; kLow: the low halves of long numbers, with VNNI.
  template <int kFirst, int kCount, bool kLow = false>
  CAUSEWAY_INLINE void AddQuads(const std::byte* const (&codes)[H / 2], const std::byte* const (&x)[C]) {
    if constexpr (kHasVnni || IsSigned(kTraits)) {
      AddEach<kFirst, kLow>(codes, x, whole, std::make_integer_sequence<int, kCount>());
    } else {
      constexpr int kStep = QuadsTogether(kTraits) < kCount ? QuadsTogether(kTraits) : kCount;
      __m256i pairs[H][C];
      CAUSEWAY_UNROLL for (int h = 0; h < H; ++h) {
        CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) { pairs[h][c] = _mm256_setzero_si256(); }
      }
      AddEach<kFirst, kLow>(codes, x, pairs, std::make_integer_sequence<int, kStep>());
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

  // What was added so far are high halves.
  CAUSEWAY_INLINE void ShiftToHigh() {
    CAUSEWAY_UNROLL for (int h = 0; h < H; ++h) {
      CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) { whole[h][c] = _mm256_slli_epi32(whole[h][c], 7); }
    }
  }

  // sums += the integers, scaled, less the minimum; first halves wait for the second ones.
  template <int kSection>
  CAUSEWAY_INLINE void Finish(const Halves& halves, const Groups& groups, Sums (&sums)[H / 2][C]) {
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
        const __m256 x_scale = _mm256_set1_ps(groups[c]->scale);
        __m256& sum = sums[h / 2][c].half[h % 2];
        if constexpr (!kTraits.halves()) {
          sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), _mm256_mul_ps(scale, x_scale), sum);
        } else if constexpr (kSection == 0) {
          first_half[h][c] = _mm256_mul_ps(_mm256_cvtepi32_ps(dot), scale);
        } else {
          sum = _mm256_fmadd_ps(_mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), scale, first_half[h][c]), x_scale, sum);
        }
        if constexpr (kTraits.minimum()) {
          sum = _mm256_fmadd_ps(minimum, _mm256_set1_ps(groups[c]->minus_scaled_sum), sum);
        }
      }
    }
  }

 private:
  template <int kFirst, bool kLow, int... kAt>
  CAUSEWAY_INLINE void AddEach(const std::byte* const (&codes)[H / 2], const std::byte* const (&x)[C],
                               __m256i (&to)[H][C], std::integer_sequence<int, kAt...>) {
    (AddQuad<QuadAt(kTraits, kFirst + kAt), kLow>(codes, x, to), ...);
  }
  template <int kQuad, bool kLow>
  CAUSEWAY_INLINE void AddQuad(const std::byte* const (&codes)[H / 2], const std::byte* const (&x)[C],
                               __m256i (&to)[H][C]) {
    Quad weights[H];
    CAUSEWAY_UNROLL for (int h = 0; h < H; ++h) {
      weights[h] = LoadQuad<kKind, kQuad, kCodesMade>(codes[h / 2] + h % 2 * 32);
    }
    CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
      const __m256i four = BroadcastFour(x[c] + kQuad * 4);
      CAUSEWAY_UNROLL for (int h = 0; h < H; ++h) {
        to[h][c] = AddProducts<kKind, kLow>(to[h][c], weights[h], four);
        asm volatile("" : "+v"(to[h][c]));  // in its register: else g++ multiplies far ahead and stores the products
      }
    }
  }
};

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
