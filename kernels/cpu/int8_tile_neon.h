// The integer tile with NEON: a panel's sixteen rows are four registers of four k of four rows each, and so are its
// sums. All products add up in 32 bits, from what the weights' offset takes off on; of long numbers the high halves
// first. Included by linear_int8.cc only.
#pragma once

#include "kernels/cpu/int8_ahead.h"
#include "kernels/cpu/int8_codes_neon.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr bool kCanUnpack = true;
constexpr int kMaxHeight = 4;                                      // rows of x in a tile: 16 of 32 registers add up
constexpr int WidthOf(int height) { return height == 1 ? 2 : 1; }  // panels in a tile: eight chains for one row

// The integers of F fours of rows (of F / kFours panels) and C rows of x in a group, or in half of one that has its own
// scales.
template <PackedKind kKind, int F, int C, bool kUnpacked>
struct Dots {
  static constexpr PackedTraits kTraits = TraitsOf(kKind);
  static constexpr bool kCodesMade = kUnpacked && kTraits.unpacks_codes();
  static constexpr bool kParamsMade = kUnpacked && kTraits.unpacks_params();
  using Fours = FourParams<kKind, kParamsMade>[F];
  using Groups = const XGroup* [C];
  using Codes = const std::byte * [F / kFours];
  using Rows = const std::byte* [C];
  int32x4_t whole[F][C];
  float32x4_t first_half[F][C];  // scaled with the weight's scale, where halves have their own

  CAUSEWAY_INLINE void Start(int section, const Fours& fours, const Groups& groups) {
    CAUSEWAY_UNROLL for (int f = 0; f < F; ++f) {
      CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) { whole[f][c] = fours[f].OffsetSum(section, *groups[c]); }
    }
  }

  // kCount quads from the `kFirst`th of their order on; kLow: the low halves of long numbers.
  template <int kFirst, int kCount, bool kLow = false>
  CAUSEWAY_INLINE void AddQuads(const Codes& codes, const Rows& x) {
    AddEach<kFirst, kLow>(codes, x, std::make_integer_sequence<int, kCount>());
  }

  // What was added so far are high halves.
  CAUSEWAY_INLINE void ShiftToHigh() {
    CAUSEWAY_UNROLL for (int f = 0; f < F; ++f) {
      CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) { whole[f][c] = vshlq_n_s32(whole[f][c], 7); }
    }
  }

  // sums += the integers, scaled, less the minimum; first halves wait for the second ones.
  template <int kSection>
  CAUSEWAY_INLINE void Finish(const Fours& fours, const Groups& groups, Sums (&sums)[F / kFours][C]) {
    CAUSEWAY_UNROLL for (int f = 0; f < F; ++f) {
      const float32x4_t scale = fours[f].Scale(kSection);
      float32x4_t minimum;
      if constexpr (kTraits.minimum()) {
        minimum = fours[f].Minimum(0);
      }
      CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
        float32x4_t& sum = sums[f / kFours][c].four[f % kFours];
        const float32x4_t dot = vcvtq_f32_s32(whole[f][c]);
        const float32x4_t x_scale = vdupq_n_f32(groups[c]->scale);
        if constexpr (!kTraits.halves()) {
          sum = vfmaq_f32(sum, dot, vmulq_f32(scale, x_scale));
        } else if constexpr (kSection == 0) {
          first_half[f][c] = vmulq_f32(dot, scale);
        } else {
          sum = vfmaq_f32(sum, vfmaq_f32(first_half[f][c], dot, scale), x_scale);
        }
        if constexpr (kTraits.minimum()) {
          sum = vfmaq_f32(sum, minimum, vdupq_n_f32(groups[c]->minus_scaled_sum));
        }
      }
    }
  }

 private:
  template <int kFirst, bool kLow, int... kAt>
  CAUSEWAY_INLINE void AddEach(const Codes& codes, const Rows& x, std::integer_sequence<int, kAt...>) {
    (AddQuad<QuadAt(kTraits, kFirst + kAt), kLow>(codes, x), ...);
  }
  template <int kQuad, bool kLow>
  CAUSEWAY_INLINE void AddQuad(const Codes& codes, const Rows& x) {
    int8x16_t weights[F];
    CAUSEWAY_UNROLL for (int f = 0; f < F; ++f) {
      const Quad quad = LoadQuad<kKind, kQuad, kCodesMade>(codes[f / kFours] + f % kFours * 16);
      weights[f] = kLow ? quad.low : quad.high;
    }
    CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
      const int8x16_t four = BroadcastFour(x[c] + kQuad * 4);
      CAUSEWAY_UNROLL for (int f = 0; f < F; ++f) {
        whole[f][c] = DotBytes(whole[f][c], weights[f], four);
        Keep(whole[f][c]);
      }
    }
  }
};

// sums less the minima of both halves of a group.
template <PackedKind kKind, int F, int C, bool kMade>
CAUSEWAY_INLINE void TakeMinima(const FourParams<kKind, kMade> (&fours)[F], const XGroup* const (&groups)[C],
                                Sums (&sums)[F / kFours][C]) {
  CAUSEWAY_UNROLL for (int f = 0; f < F; ++f) {
    const float32x4_t minima[] = {fours[f].Minimum(0), fours[f].Minimum(1)};
    CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
      float32x4_t& sum = sums[f / kFours][c].four[f % kFours];
      sum = vfmaq_f32(sum, minima[0], vdupq_n_f32(groups[c]->ScaledFirst()));
      sum = vfmaq_f32(sum, minima[1], vdupq_n_f32(groups[c]->ScaledSecond()));
    }
  }
}

// Adds the quads of all that shares a scale.
template <PackedKind kKind, bool kLow, int F, int C, bool kUnpacked>
CAUSEWAY_INLINE void AddCodes(const std::byte* const (&from)[F / kFours], const std::byte* const (&x)[C],
                              Dots<kKind, F, C, kUnpacked>& dots) {
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  const std::byte* codes[F / kFours];
  const std::byte* rows[C];
  CAUSEWAY_UNROLL for (int r = 0; r < F / kFours; ++r) { codes[r] = from[r]; }
  CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) { rows[c] = x[c]; }
  for (int64_t i = 0; i < (kTraits.wide ? kWideGroups : 1); ++i) {
    dots.template AddQuads<0, kQuads, kLow>(codes, rows);
    CAUSEWAY_UNROLL for (int r = 0; r < F / kFours; ++r) {
      codes[r] += kUnpacked && kTraits.unpacks_codes() ? kTraits.unpacked_code_bytes() : kTraits.code_bytes();
    }
    CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) { rows[c] += kGroup; }
  }
}

// Adds a group of all rows to the sums.
template <PackedKind kKind, int F, int C, bool kUnpacked>
CAUSEWAY_INLINE void AddGroup(const std::byte* const (&codes)[F / kFours], const std::byte* const (&rows)[C],
                              const typename Dots<kKind, F, C, kUnpacked>::Fours& fours,
                              const XGroup* const (&groups)[C], Sums (&sums)[F / kFours][C]) {
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  Dots<kKind, F, C, kUnpacked> dots;
  dots.Start(0, fours, groups);
  if constexpr (kTraits.halves()) {
    dots.template AddQuads<0, kQuads / 2>(codes, rows);
    dots.template Finish<0>(fours, groups, sums);
    dots.Start(1, fours, groups);
    dots.template AddQuads<kQuads / 2, kQuads / 2>(codes, rows);
    dots.template Finish<1>(fours, groups, sums);
    if constexpr (kTraits.half_minima()) {
      TakeMinima<kKind, F, C>(fours, groups, sums);
    }
  } else {
    AddCodes<kKind, false>(codes, rows, dots);
    if constexpr (kTraits.long_numbers()) {
      dots.ShiftToHigh();
      AddCodes<kKind, true>(codes, rows, dots);
    }
    dots.template Finish<0>(fours, groups, sums);
  }
}

// Adds the groups of R panels times C rows of x to the sums, and asks for what is `ahead`. kUnpacked: what the kind
// unpacks is taken from `unpacked`.
template <PackedKind kKind, int R, int C, bool kUnpacked>
CAUSEWAY_INLINE void AddGroups(const std::byte* const (&panels)[R], const std::byte* const (&unpacked)[R],
                               const PanelShape& shape, const QuantizedX& x, const Ahead& ahead, Sums (&sums)[R][C]) {
  using TileDots = Dots<kKind, kFours * R, C, kUnpacked>;
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  constexpr int F = kFours * R;
  constexpr int64_t kTogether = kTraits.wide ? kWideGroups : 1;  // groups of the weight in one of x
  constexpr int64_t kCodeBytes = TileDots::kCodesMade ? kTraits.unpacked_code_bytes() : kTraits.code_bytes();
  const int param_shift = __builtin_ctzll(static_cast<uint64_t>(shape.param_groups));
  const int super_shift = __builtin_ctzll(static_cast<uint64_t>(kTraits.supers() ? kSuperGroups : shape.super_groups));
  const std::byte* codes[R];
  const std::byte* rows[C];
  CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) { codes[r] = TileDots::kCodesMade ? unpacked[r] : panels[r]; }
  CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) { rows[c] = x.Row(c); }
  for (int64_t g = 0; g < x.per_row; ++g) {
    AskAhead(ahead, g);
    const int64_t param_group = kTraits.float_scale() && !kTraits.wide ? g >> param_shift : g;
    typename TileDots::Fours fours;
    const XGroup* groups[C];
    CAUSEWAY_UNROLL for (int f = 0; f < F; ++f) {
      const std::byte* const panel = panels[f / kFours];
      fours[f] = {panel + shape.params + param_group * kTraits.param_bytes(),
                  panel + shape.supers + (g >> super_shift) * kSuperBytes, f % kFours};
      if constexpr (TileDots::kParamsMade) {
        const std::byte* const made = unpacked[f / kFours] + x.per_row * kTogether * kTraits.unpacked_code_bytes();
        fours[f].made = reinterpret_cast<const float*>(made + g * kTraits.unpacked_param_bytes());
      }
    }
    CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
      groups[c] = reinterpret_cast<const XGroup*>(rows[c] + kTogether * kGroup);
    }
    AddGroup<kKind, F, C, kUnpacked>(codes, rows, fours, groups, sums);
    CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) { codes[r] += kTogether * kCodeBytes; }
    CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) { rows[c] += kTogether * kGroup + sizeof(XGroup); }
  }
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
