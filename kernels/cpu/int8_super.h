// Groups of super-blocks with integer scales: their integers times those add up over all that meets a scale of x, and
// so do minima times sums of x; only then both become float32. Included by int8_tile.h only.
#pragma once

#include "kernels/cpu/int8_dots.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

// Where a tile has more numbers than registers: those touched seldom leave them to the others.
template <int kNumbers, typename Number>
CAUSEWAY_INLINE void LeaveRegister([[maybe_unused]] Number& sum) {
  if constexpr (kNumbers > kRegisters) {
    asm volatile("" : "+m"(sum));
  }
}

// Integer scales of a group or of its half, each as a pair of 16 bits.
template <typename Part>
CAUSEWAY_INLINE Ints ScalePairs(const Part& params, int half) {
  if constexpr (Part::kIsMade) {
    return IntsAt(params.made + half * kMadeBytes, params.part);
  } else {
    const std::byte* const scales = params.params + half * kPanelRows;
    return SignedPairs(scales, scales, params.part);
  }
}

// What is taken off, as pairs of 16 bits for sums of x: an offset times the scales of both halves, or their minima, for
// MinusSums; or the minima of a group and the next, for MinusPair.
template <typename Part>
CAUSEWAY_INLINE Ints TakenPairs(const Part& params) {
  constexpr PackedTraits kTraits = Part::kTraits;
  const std::byte* const taken = params.params + (Part::kMinima == 0 ? 0 : SpreadMinima(kTraits));
  if constexpr (Part::kIsMade) {
    return IntsAt(params.made + Part::kScales * kMadeBytes, params.part);
  } else if constexpr (!kTraits.halves()) {
    return UnsignedPairs(taken, taken + SpreadGroup(kTraits), params.part);
  } else if constexpr (Part::kMinima != 0) {
    return ForMinusSums(UnsignedPairs(taken, taken + kPanelRows, params.part));
  } else {
    return ShiftPairsLeft<OffsetLeft(kTraits)>(ForMinusSums(SignedPairs(taken, taken + kPanelRows, params.part)));
  }
}

// The nth group of x behind one, of super-blocks.
template <typename Group>
CAUSEWAY_INLINE const Group& GroupAfter(const Group* group, int64_t n) {
  constexpr int64_t kBytes = XShape{kGroup, kWideGroups}.group_bytes();
  return *reinterpret_cast<const Group*>(reinterpret_cast<const std::byte*>(group) + n * kBytes);
}

// The same, times the sums of x, of all groups up to that of `params` and `group` that share a scale of x.
template <typename Part, typename Group, size_t P>
CAUSEWAY_INLINE void TakeOff(const Part (&params)[P], const Group* group, Ints (&taken)[P]) {
  constexpr bool kHalves = Part::kTraits.halves();
  CAUSEWAY_UNROLL for (int64_t g = 1 - kWideGroups; g <= 0; g += kHalves ? 1 : 2) {
    const Group& of = GroupAfter(group, g);
    Ints minus_sums;
    if constexpr (kHalves) {
      minus_sums = MinusSums(of);
    } else {
      minus_sums = MinusPair(of);
    }
    CAUSEWAY_UNROLL for (size_t p = 0; p < P; ++p) {
      const Ints products = MultiplyPairs(TakenPairs(params[p].After(g)), minus_sums);
      taken[p] = g == 1 - kWideGroups ? products : AddInts(taken[p], products);
    }
  }
}

// Adds a group of all rows of x to the totals.
template <PackedKind kKind, bool kUnpacked, int P, int C>
CAUSEWAY_INLINE void AddSuperGroup(const std::byte* const (&codes)[P / kParts], const std::byte* const (&rows)[C],
                                   const typename Dots<kKind, P, C, kUnpacked>::Params& params, Ints (&totals)[P][C]) {
  constexpr bool kHalves = TraitsOf(kKind).halves();
  Dots<kKind, P, C, kUnpacked> dots;
  CAUSEWAY_UNROLL for (int p = 0; p < P; ++p) {
    dots.scales[p] = ScalePairs(params[p], 0);
    CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) { dots.whole[p][c] = AllInts(0); }
  }
  dots.template AddQuads<0, kHalves ? kQuads / 2 : kQuads>(codes, rows);
  if constexpr (kHalves) {
    CAUSEWAY_UNROLL for (int p = 0; p < P; ++p) { dots.scales[p] = ScalePairs(params[p], 1); }
    dots.template AddQuads<kQuads / 2, kQuads / 2>(codes, rows);
  }
  CAUSEWAY_UNROLL for (int p = 0; p < P; ++p) {
    CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
      totals[p][c] = AddInts(totals[p][c], dots.whole[p][c]);
      LeaveRegister<3 * P * C>(totals[p][c]);
    }
  }
}

// Scales what the groups up to that of `params` and `groups` came to, and adds it to the sums.
template <typename Part, int P, int C>
CAUSEWAY_INLINE void FinishSuper(const Ints (&totals)[P][C], const Part (&params)[P], const XGroup* const (&groups)[C],
                                 Sums (&sums)[P / kParts][C]) {
  constexpr bool kMinimum = Part::kMinima != 0;
  Floats scales[P];
  Floats minima[P];
  CAUSEWAY_UNROLL for (int p = 0; p < P; ++p) {
    scales[p] = HalfFloats(params[p].super, p % kParts);
    minima[p] = kMinimum ? HalfFloats(params[p].super + kSuperBytes / 2, p % kParts) : scales[p];
  }
  CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
    Ints taken[P];
    if constexpr (Part::kTakes) {
      TakeOff(params, groups[c], taken);
    }
    const Floats x_scale = AllLanes(groups[c]->scale);
    CAUSEWAY_UNROLL for (int p = 0; p < P; ++p) {
      Ints whole = totals[p][c];
      if constexpr (Part::kTakes && !kMinimum) {
        whole = AddInts(whole, taken[p]);
      }
      Floats scaled = Multiply(ToFloats(whole), scales[p]);
      if constexpr (kMinimum) {
        scaled = FusedMultiplyAdd(ToFloats(taken[p]), minima[p], scaled);
      }
      Floats& sum = sums[p / kParts][c].part[p % kParts];
      sum = FusedMultiplyAdd(scaled, x_scale, sum);
      LeaveRegister<3 * P * C>(sum);
    }
  }
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
