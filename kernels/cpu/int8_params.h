// Where a tile finds the numbers of a panel's groups: what they are scaled with, and what is taken off their codes.
// Included by int8_dots.h only.
#pragma once

#include "kernels/cpu/int8_spread.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

// What numbers of a group take where they are unpacked: vectors of four bytes for each row of a panel. float32 scales,
// then minima, of each half; or ScalePairs of each half, then TakenPairs (int8_super.h).
constexpr int64_t kMadeBytes = kPanelRows * int64_t{sizeof(float)};
constexpr int64_t UnpackedParamBytes(const PackedTraits& traits) {
  const int beside = ScalesIntegers(traits) ? (Takes(traits) ? 1 : 0) : MinimaOf(traits);
  return traits.unpacks_params() ? kMadeBytes * (ScalesOf(traits) + beside) : 0;
}

// The numbers of a group, of the rows of a panel's register `part`. kMade: from what StoreUnpacked left. Those of
// super-blocks lie as int8_spread.h says.
template <PackedKind kKind, bool kMade = false>
struct PartParams {
  static constexpr PackedTraits kTraits = TraitsOf(kKind);
  static constexpr int kScales = ScalesOf(kTraits);
  static constexpr int kMinima = MinimaOf(kTraits);
  static constexpr bool kIsMade = kMade;
  static constexpr bool kTakes = Takes(kTraits);
  const std::byte* params;
  const std::byte* super;
  const std::byte* made;
  int64_t part;

  // Of all of the group, or of its half `half` where halves have their own.
  CAUSEWAY_INLINE Floats Scale(int half) const {
    if constexpr (kMade) {
      return MadeFloats(half);
    } else if constexpr (kTraits.float_scale()) {
      return FloatsAt(reinterpret_cast<const float*>(params), part);
    } else if constexpr (kTraits.params == PackedParams::kBrainFloat) {
      return BrainFloats(params, part);
    } else if constexpr (kTraits.params == PackedParams::kHalvesE4M3) {
      return Multiply(FloatsAt(reinterpret_cast<const float*>(super), part),
                      E4M3Floats(params + half * kPanelRows, part));
    } else if constexpr (kTraits.params == PackedParams::kHalvesZero) {
      return HalfFloats(params + half * kPanelRows * 2, part);
    } else if constexpr (kTraits.supers()) {
      return Multiply(HalfFloats(super, part), SignedFloats(params + half * kPanelRows, part));
    } else {
      return HalfFloats(params, part);
    }
  }
  CAUSEWAY_INLINE Floats Minimum(int half) const {
    if constexpr (kMade) {
      return MadeFloats(kScales + half);
    } else if constexpr (kTraits.supers()) {
      const Ints bytes = BytesAt(params + SpreadMinima(kTraits) + half * kPanelRows, part);
      return Multiply(HalfFloats(super + kSuperBytes / 2, part), ToFloats(bytes));
    } else if constexpr (kTraits.params == PackedParams::kHalvesZero) {
      return Multiply(Scale(half), HalfFloats(params + (2 + half) * kPanelRows * 2, part));
    } else {
      return HalfFloats(params + kPanelRows * 2, part);
    }
  }
  // The nth group behind this one, of the same super-block.
  CAUSEWAY_INLINE PartParams After(int64_t n) const {
    return {params + n * SpreadGroup(kTraits), super, kMade ? made + n * UnpackedParamBytes(kTraits) : nullptr, part};
  }

  CAUSEWAY_INLINE void StoreUnpacked(std::byte* to) const {
    if constexpr (ScalesIntegers(kTraits)) {
      CAUSEWAY_UNROLL for (int i = 0; i < kScales; ++i) { StoreInts(to + i * kMadeBytes, part, ScalePairs(*this, i)); }
      if constexpr (kTakes) {
        StoreInts(to + kScales * kMadeBytes, part, TakenPairs(*this));
      }
    } else {
      CAUSEWAY_UNROLL for (int i = 0; i < kScales; ++i) { StoreMade(to, i, Scale(i)); }
      CAUSEWAY_UNROLL for (int i = 0; i < kMinima; ++i) { StoreMade(to, kScales + i, Minimum(i)); }
    }
  }

  // The sum of x's codes times what is to be taken off the weight's: an offset, or zero points.
  template <int kHalf>
  CAUSEWAY_INLINE Ints OffsetSum(const XGroup& group) const {
    constexpr int kOffset = OffsetLeft(kTraits);
    if constexpr (kTraits.zero()) {
      return TimesMinusSum(ZerosAt < IsSigned(kTraits) ? 128 : 0 > (params + kPanelRows * 4, part), group);
    } else if constexpr (kOffset == 0) {
      return AllInts(0);
    } else if constexpr (kTraits.halves()) {
      return TimesMinusHalf<kOffset, kHalf>(group);
    } else {
      return TimesMinusSum<kOffset>(group);
    }
  }

 private:
  CAUSEWAY_INLINE Floats MadeFloats(int i) const {
    return FloatsAt(reinterpret_cast<const float*>(made + i * kMadeBytes), part);
  }
  CAUSEWAY_INLINE void StoreMade(std::byte* to, int i, Floats floats) const {
    StoreFloats(reinterpret_cast<float*>(to + i * kMadeBytes), part, floats);
  }
};
// Of all groups of a panel, one behind the other.
template <PackedKind kKind>
void UnpackParams(const std::byte* panel, const PanelShape& shape, int64_t groups, std::byte* to) {
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  SpreadOut<kKind> spread;
  for (int64_t g = 0; g < groups; ++g, to += UnpackedParamBytes(kTraits)) {
    const GroupPlace place(shape, g);
    if (kTraits.spreads() && place.at == 0) {
      Spread<kKind>(panel + place.begin, spread.bytes);
    }
    const std::byte* const params =
        kTraits.spreads() ? spread.bytes + place.at * SpreadGroup(kTraits) : panel + place.params;
    for (int64_t part = 0; part < kParts; ++part) {
      PartParams<kKind>{params, panel + place.super, nullptr, part}.StoreUnpacked(to);
    }
  }
}

// Where what tiles read of a panel lies: as it is packed, or where it was unpacked.
template <PackedKind kKind, bool kUnpacked>
struct PanelParts {
  static constexpr PackedTraits kTraits = TraitsOf(kKind);
  static constexpr bool kCodesMade = kUnpacked && UnpacksCodes(kTraits);
  static constexpr bool kParamsMade = kUnpacked && kTraits.unpacks_params();
  static constexpr bool kSpreads = kTraits.spreads() && !kParamsMade;
  static constexpr int64_t kCodeBytes = kCodesMade ? UnpackedCodeBytes(kTraits) : kTraits.code_bytes();
  template <int P>
  using Params = PartParams<kKind, kParamsMade>[P];

  static constexpr int64_t kPacked = XShapeOf({kKind}).group / kGroup;  // groups of the weight in one of x
  static constexpr int64_t kChunk = kTraits.chunk_groups() / kPacked;   // groups of x beside a chunk
  static_assert(!kTraits.supers() || kChunk == kSuperGroups);           // a chunk is a super-block
  int64_t made;                                                         // from where params were unpacked
  int param_shift, super_shift;                                         // groups of x that share them
  int64_t first = 0, params = 0, supers = 0, codes = 0;                 // of the chunk entered last

  explicit PanelParts(const PanelShape& shape)
      : made(kCodesMade ? shape.groups * UnpackedCodeBytes(kTraits) : 0),
        param_shift(ShiftOf(shape.param_groups)),
        super_shift(ShiftOf(shape.super_groups)) {}

  // The chunk that begins with group `g` of x.
  CAUSEWAY_INLINE void Enter(const PanelShape& shape, int64_t g) {
    const ChunkShape& chunk = shape.Chunk(g / kChunk);
    first = g;
    params = g / kChunk * shape.whole.bytes;
    supers = params + chunk.supers;
    codes = params + chunk.codes;
  }

  // Of group `g` of x, in that chunk, whose numbers are at `spread` where they are spread out.
  CAUSEWAY_INLINE PartParams<kKind, kParamsMade> ParamsAt(const std::byte* panel, const std::byte* spread,
                                                          const std::byte* unpacked, int64_t g, int64_t part) const {
    const int64_t at = g - first;
    const int64_t param_group = kTraits.float_scale() && !kTraits.wide ? at >> param_shift : at;
    const int64_t super = kTraits.supers() ? 0 : at >> super_shift;
    const std::byte* const numbers = kParamsMade ? unpacked + made + g * UnpackedParamBytes(kTraits) : nullptr;
    return {kSpreads ? spread + at * SpreadGroup(kTraits) : panel + params + param_group * kTraits.param_bytes(),
            panel + supers + super * kSuperBytes, numbers, part};
  }

 private:
  static int ShiftOf(int64_t power) { return __builtin_ctzll(static_cast<uint64_t>(power)); }
};

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
