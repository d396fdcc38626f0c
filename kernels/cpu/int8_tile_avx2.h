// The integer tile with AVX2: a panel's sixteen rows are two registers of four k of eight rows each. Products of codes
// of up to six bits add up in 16 bits over a few quads (31 * 2 * 127 * 4 < 32768); longer ones take the sign from the
// weight to x, so that the unsigned operand is |code| <= 128 and a pair fits (2 * 128 * 127 < 32768). With AVX-VNNI all
// codes are unsigned and add up in 32 bits. Both halves of a panel share what is read of x. Included by linear_int8.cc
// only.
#pragma once

#include "kernels/cpu/int8_ahead.h"
#include "kernels/cpu/int8_dots_avx2.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr bool kCanUnpack = true;
constexpr int kMaxHeight = 6;                                                        // rows of x in a tile
constexpr int WidthOf(int height) { return height == 1 ? 4 : height == 2 ? 2 : 1; }  // panels in a tile

// sums less the minima of both halves of a group.
template <PackedKind kKind, int H, int C, bool kMade>
CAUSEWAY_INLINE void TakeMinima(const HalfParams<kKind, kMade> (&halves)[H], const XGroup* const (&groups)[C],
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

// Adds the quads of all that shares a scale.
template <PackedKind kKind, bool kLow, int H, int C, bool kUnpacked>
CAUSEWAY_INLINE void AddCodes(const std::byte* const (&from)[H / 2], const std::byte* const (&x)[C],
                              Dots<kKind, H, C, kUnpacked>& dots) {
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  const std::byte* codes[H / 2];
  const std::byte* rows[C];
  CAUSEWAY_UNROLL for (int r = 0; r < H / 2; ++r) { codes[r] = from[r]; }
  CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) { rows[c] = x[c]; }
  for (int64_t i = 0; i < (kTraits.wide ? kWideGroups : 1); ++i) {
    dots.template AddQuads<0, kQuads, kLow>(codes, rows);
    CAUSEWAY_UNROLL for (int r = 0; r < H / 2; ++r) {
      codes[r] += kUnpacked && kTraits.unpacks_codes() ? kTraits.unpacked_code_bytes() : kTraits.code_bytes();
    }
    CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) { rows[c] += kGroup; }
  }
}

// Adds the groups of R panels times C rows of x to the sums, and asks for what is `ahead`. kUnpacked: what the kind
// unpacks is taken from `unpacked`.
template <PackedKind kKind, int R, int C, bool kUnpacked>
CAUSEWAY_INLINE void AddGroups(const std::byte* const (&panels)[R], const std::byte* const (&unpacked)[R],
                               const PanelShape& shape, const QuantizedX& x, const Ahead& ahead, Sums (&sums)[R][C]) {
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  constexpr int H = 2 * R;
  constexpr int64_t kTogether = kTraits.wide ? kWideGroups : 1;  // groups of the weight in one of x
  constexpr bool kCodesMade = kUnpacked && kTraits.unpacks_codes();
  constexpr bool kParamsMade = kUnpacked && kTraits.unpacks_params();
  constexpr int64_t kCodeBytes = kCodesMade ? kTraits.unpacked_code_bytes() : kTraits.code_bytes();
  const int param_shift = __builtin_ctzll(static_cast<uint64_t>(shape.param_groups));
  const int super_shift = __builtin_ctzll(static_cast<uint64_t>(kTraits.supers() ? kSuperGroups : shape.super_groups));
  const std::byte* codes[R];
  const std::byte* rows[C];
  CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) { codes[r] = kCodesMade ? unpacked[r] : panels[r]; }
  CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) { rows[c] = x.Row(c); }
  for (int64_t g = 0; g < x.per_row; ++g) {
    AskAhead(ahead, g);
    const int64_t param_group = kTraits.float_scale() && !kTraits.wide ? g >> param_shift : g;
    HalfParams<kKind, kParamsMade> halves[H];
    const XGroup* groups[C];
    CAUSEWAY_UNROLL for (int h = 0; h < H; ++h) {
      halves[h] = {panels[h / 2] + shape.params + param_group * kTraits.param_bytes(),
                   panels[h / 2] + shape.supers + (g >> super_shift) * kSuperBytes, h % 2};
      if constexpr (kParamsMade) {
        const std::byte* const made = unpacked[h / 2] + x.per_row * kTogether * kTraits.unpacked_code_bytes();
        halves[h].made = reinterpret_cast<const float*>(made + g * kTraits.unpacked_param_bytes());
      }
    }
    CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
      groups[c] = reinterpret_cast<const XGroup*>(rows[c] + kTogether * kGroup);
    }
    Dots<kKind, H, C, kUnpacked> dots;
    if constexpr (kTraits.halves()) {
      dots.template Start<0>(halves, groups);
      dots.template AddQuads<0, kQuads / 2>(codes, rows);
      dots.template Finish<0>(halves, groups, sums);
      dots.template Start<1>(halves, groups);
      dots.template AddQuads<kQuads / 2, kQuads / 2>(codes, rows);
      dots.template Finish<1>(halves, groups, sums);
      if constexpr (kTraits.half_minima()) {
        TakeMinima<kKind, H, C, kParamsMade>(halves, groups, sums);
      }
    } else {
      dots.template Start<0>(halves, groups);
      AddCodes<kKind, false>(codes, rows, dots);
      if constexpr (kHasVnni && kTraits.long_numbers()) {
        dots.ShiftToHigh();
        AddCodes<kKind, true>(codes, rows, dots);
      }
      dots.template Finish<0>(halves, groups, sums);
    }
    CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) { codes[r] += kTogether * kCodeBytes; }
    CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) { rows[c] += kTogether * kGroup + sizeof(XGroup); }
  }
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
