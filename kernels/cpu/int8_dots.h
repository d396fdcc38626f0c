// The integers of a tile, and how they come to its sums. Included by int8_tile.h only.
#pragma once

#include <utility>

#include "kernels/cpu/int8_params.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

// The integers of P parts and C rows of x: of all that shares a scale of the weight.
template <PackedKind kKind, int P, int C, bool kUnpacked>
struct Dots {
  using Parts = PanelParts<kKind, kUnpacked>;
  using Params = typename Parts::template Params<P>;
  using Groups = const XGroup* [C];
  using Codes = const std::byte * [P / kParts];
  using Rows = const std::byte* [C];
  static constexpr PackedTraits kTraits = TraitsOf(kKind);
  static constexpr bool kTwoSums = kTraits.long_numbers() && kLongInTwoSums;
  // Quads whose products add up in pairs of 16 bits; 0: in 32 bits at once.
  static constexpr int kPairedQuads = PairedQuads(kTraits, IsSigned(kTraits));
  static constexpr bool kScaled = ScalesIntegers(kTraits);
  static constexpr bool kFlips = Parts::kCodesMade && UnpacksSigns(kTraits);
  Ints whole[P][C];
  Ints low[P][C];  // of long numbers' low halves, where those have sums of their own
  Ints scales[P];  // as pairs of 16 bits, where integers are multiplied with them

  template <int kHalf>
  CAUSEWAY_INLINE void Start(const Params& params, const Groups& groups) {
    CAUSEWAY_UNROLL for (int p = 0; p < P; ++p) {
      CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
        whole[p][c] = kStartsFromOffset ? params[p].template OffsetSum<kHalf>(*groups[c]) : AllInts(0);
        if constexpr (kTwoSums) {
          low[p][c] = AllInts(0);
        }
      }
    }
  }

  // Adds kCount quads of a group, from the `kFirst`th of their order on; kLow: the low halves of long numbers.
  template <int kFirst, int kCount, bool kLow = false>
  CAUSEWAY_INLINE void AddQuads(const Codes& codes, const Rows& x) {
    if constexpr (kFlips) {
      AddFlipped<(kFirst == 0 ? 0 : 1)>(codes);
    }
    if constexpr (kPairedQuads == 0) {
      AddEach<kFirst, kLow>(codes, x, whole, std::make_integer_sequence<int, kCount>());
    } else {
      constexpr int kStep = kPairedQuads < kCount ? kPairedQuads : kCount;
      Ints pairs[P][C];
      CAUSEWAY_UNROLL for (int p = 0; p < P; ++p) {
        CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) { pairs[p][c] = AllInts(0); }
      }
      AddEach<kFirst, kLow>(codes, x, pairs, std::make_integer_sequence<int, kStep>());
      CAUSEWAY_UNROLL for (int p = 0; p < P; ++p) {
        CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) { AddPairs(whole[p][c], pairs[p][c], p); }
      }
      if constexpr (kStep < kCount) {
        AddQuads<kFirst + kStep, kCount - kStep>(codes, x);
      }
    }
  }

  // Adds whole groups: all that share a scale.
  CAUSEWAY_INLINE void AddAll(const Codes& codes, const Rows& x) {
    AddWhole<false>(codes, x);
    if constexpr (kTraits.long_numbers() && kLongInTwoPasses) {
      CAUSEWAY_UNROLL for (int p = 0; p < P; ++p) {
        CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) { whole[p][c] = FromHighHalf(whole[p][c]); }
      }
      AddWhole<true>(codes, x);
    }
  }

  // The integer, less what the weight's offset adds.
  template <int kHalf>
  CAUSEWAY_INLINE Floats Number(int p, int c, const Params& params, const Groups& groups) const {
    Ints dot = whole[p][c];
    if constexpr (kTwoSums) {
      dot = AddInts(FromHighHalf(dot), low[p][c]);
    }
    if constexpr (!kStartsFromOffset) {
      dot = AddInts(dot, params[p].template OffsetSum<kHalf>(*groups[c]));
    }
    return ToFloats(dot);
  }

 private:
  template <typename Pairs>
  CAUSEWAY_INLINE void AddPairs(Ints& sum, const Pairs& pairs, int p) const {
    if constexpr (kScaled) {
      sum = AddInts(sum, MultiplyPairs(pairs, scales[p]));
    } else {
      sum = AddInts(sum, WidenPairs(pairs));
    }
  }
  // What flipped signs leave out.
  template <int kHalf>
  CAUSEWAY_INLINE void AddFlipped(const Codes& codes) {
    CAUSEWAY_UNROLL for (int p = 0; p < P; ++p) {
      Ints flipped = IntsAt(codes[p / kParts] + kFlippedAt + kHalf * 64, p % kParts);
      if constexpr (kScaled) {
        flipped = MultiplyPairs(flipped, scales[p]);  // it fits into the lower 16 bits
      }
      CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) { whole[p][c] = AddInts(whole[p][c], flipped); }
    }
  }
  template <bool kLow>
  CAUSEWAY_INLINE void AddWhole(const Codes& from, const Rows& x) {
    Codes codes;
    Rows rows;
    CAUSEWAY_UNROLL for (int r = 0; r < P / kParts; ++r) { codes[r] = from[r]; }
    CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) { rows[c] = x[c]; }
    CAUSEWAY_UNROLL for (int64_t i = 0; i < (kTraits.wide ? kWideGroups : 1); ++i) {
      AddQuads<0, kQuads, kLow>(codes, rows);
      CAUSEWAY_UNROLL for (int r = 0; r < P / kParts; ++r) { codes[r] += Parts::kCodeBytes; }
      CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) { rows[c] += kGroup; }
    }
  }
  template <int kFirst, bool kLow, int... kAt>
  CAUSEWAY_INLINE void AddEach(const Codes& codes, const Rows& x, Ints (&to)[P][C],
                               std::integer_sequence<int, kAt...>) {
    (AddQuad<QuadAt(kTraits, kFirst + kAt), kLow>(codes, x, to), ...);
  }
  template <int kQuad, bool kLow>
  CAUSEWAY_INLINE void AddQuad(const Codes& codes, const Rows& x, Ints (&to)[P][C]) {
    Quad weights[P];
    CAUSEWAY_UNROLL for (int p = 0; p < P; ++p) {
      weights[p] = LoadQuad<kKind, kQuad, Parts::kCodesMade>(codes[p / kParts] + p % kParts * kPartBytes);
    }
    CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
      const Bytes four = BroadcastFour(x[c] + kQuad * 4);
      CAUSEWAY_UNROLL for (int p = 0; p < P; ++p) {
        if constexpr (kTraits.long_numbers() && !kLongInTwoSums && !kLongInTwoPasses) {
          to[p][c] = AddLongProducts(to[p][c], weights[p].high, weights[p].low, four);
        } else if constexpr (kFlips) {
          AddPairs(to[p][c], MultiplyFlipped(weights[p].high, weights[p].low, four), p);
        } else if constexpr (kScaled && IsSigned(kTraits)) {
          AddPairs(to[p][c], MultiplySigned(weights[p].high, four), p);
        } else {
          to[p][c] = AddProducts<IsSigned(kTraits)>(to[p][c], kLow ? weights[p].low : weights[p].high, four);
        }
        KeepInRegister(to[p][c]);
        if constexpr (kTwoSums) {
          low[p][c] = DotBytes(low[p][c], weights[p].low, four);
        }
      }
    }
  }
};

// Scales the integers of a group, or of its half `kHalf`, takes minima off and adds that to `scaled`, or to the sums
// where a scale of x meets but one of the weight.
template <int kHalf, PackedKind kKind, bool kUnpacked, int P, int C>
CAUSEWAY_INLINE void Finish(const Dots<kKind, P, C, kUnpacked>& dots,
                            const typename Dots<kKind, P, C, kUnpacked>::Params& params,
                            const XGroup* const (&groups)[C], Floats (&scaled)[P][C], Sums (&sums)[P / kParts][C]) {
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  constexpr bool kMinimum = kTraits.minimum() || kTraits.half_minima();
  constexpr bool kFirst = kHalf == 0 && XShapeOf({kKind}).scale_groups == 1;  // of what shares a scale of x
  CAUSEWAY_UNROLL for (int p = 0; p < P; ++p) {
    const Floats scale = params[p].Scale(kHalf);
    Floats minimum;
    if constexpr (kMinimum) {
      minimum = params[p].Minimum(kHalf);
    }
    CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
      const Floats number = dots.template Number<kHalf>(p, c, params, groups);
      Floats& sum = kTraits.x_joins_late() ? scaled[p][c] : sums[p / kParts][c].part[p % kParts];
      if constexpr (!kTraits.x_joins_late()) {
        sum = FusedMultiplyAdd(number, Multiply(scale, AllLanes(groups[c]->scale)), sum);
      } else if constexpr (kFirst) {
        sum = Multiply(number, scale);
      } else {
        sum = FusedMultiplyAdd(number, scale, sum);
      }
      if constexpr (kMinimum) {
        const float minus_sum = !kTraits.halves() ? groups[c]->minus_scaled_sum
                                : kHalf == 0      ? groups[c]->MinusFirst()
                                                  : groups[c]->MinusSecond();
        sum = FusedMultiplyAdd(minimum, AllLanes(minus_sum), sum);
      }
    }
  }
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
