// Numbers of super-blocks, spread out as a chunk is entered from the few bits that kernels/packed_supers.h tells: a
// byte each, [groups][halves][16 rows], scales and then, where there are some, minima. Included by int8_params.h only.
#pragma once

#include "kernels/cpu/int8_codes.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

// Scales and minima of a group, and whether it has a minimum or an offset to take off.
constexpr int ScalesOf(const PackedTraits& traits) { return traits.halves() ? 2 : 1; }
constexpr int MinimaOf(const PackedTraits& traits) { return traits.half_minima() ? 2 : traits.minimum() ? 1 : 0; }
constexpr bool Takes(const PackedTraits& traits) { return MinimaOf(traits) != 0 || OffsetLeft(traits) != 0; }

// From a group's numbers to the next group's, and from its scales to its minima.
constexpr int64_t SpreadGroup(const PackedTraits& traits) { return kPanelRows * ScalesOf(traits); }
constexpr int64_t SpreadMinima(const PackedTraits& traits) { return kSuperGroups * SpreadGroup(traits); }
// The minima of a group and the next are read together, those of the last one too.
constexpr int64_t SpreadBytes(const PackedTraits& traits) {
  return traits.spreads() ? (MinimaOf(traits) == 0 ? 1 : 2) * SpreadMinima(traits) + SpreadGroup(traits) : 0;
}

// Room for the numbers of a chunk; a byte for kinds that need none.
template <PackedKind kKind>
struct SpreadOut {
  alignas(64) std::byte bytes[SpreadBytes(TraitsOf(kKind)) + 1];
};

constexpr int64_t kVectorBytes = sizeof(Bytes);

// Fields of `kBits` bits, `kFrom` on, moved to bit `kTo` of each byte.
template <int kBits, int kFrom, int kTo>
CAUSEWAY_INLINE Bytes Field(Bytes bytes) {
  constexpr int kMask = ((1 << kBits) - 1) << kTo;
  if constexpr (kFrom > kTo) {
    return And(ShiftRight<kFrom - kTo>(bytes), kMask);
  } else if constexpr (kFrom < kTo) {
    return And(ShiftLeft<kTo - kFrom>(bytes), kMask);
  } else {
    return And(bytes, kMask);
  }
}

// 128 numbers, a vector of each 64 at a time.
CAUSEWAY_INLINE void SpreadSixBits(const std::byte* from, std::byte* to) {
  std::byte* const minima = to + 128;
  CAUSEWAY_UNROLL for (int64_t i = 0; i < 64; i += kVectorBytes) {
    const Bytes first = LoadBytes(from + i);
    const Bytes second = LoadBytes(from + 64 + i);
    const Bytes lower = LoadBytes(from + 128 + i);
    StoreBytes(to + i, Field<6, 0, 0>(first));
    StoreBytes(to + 64 + i, Field<6, 0, 0>(second));
    StoreBytes(minima + i, Or(Field<4, 0, 0>(lower), Field<2, 6, 4>(first)));
    StoreBytes(minima + 64 + i, Or(Field<4, 4, 0>(lower), Field<2, 6, 4>(second)));
  }
}

// 256 numbers.
CAUSEWAY_INLINE void SpreadHalvesSixBits(const std::byte* from, std::byte* to) {
  CAUSEWAY_UNROLL for (int64_t i = 0; i < 64; i += kVectorBytes) {
    const Bytes first = LoadBytes(from + i);
    const Bytes second = LoadBytes(from + 64 + i);
    const Bytes upper = LoadBytes(from + 128 + i);
    StoreBytes(to + i, Less(Or(Field<4, 0, 0>(first), Field<2, 0, 4>(upper)), 32));
    StoreBytes(to + 64 + i, Less(Or(Field<4, 0, 0>(second), Field<2, 2, 4>(upper)), 32));
    StoreBytes(to + 128 + i, Less(Or(Field<4, 4, 0>(first), Field<2, 4, 4>(upper)), 32));
    StoreBytes(to + 192 + i, Less(Or(Field<4, 4, 0>(second), Field<2, 6, 4>(upper)), 32));
  }
}
CAUSEWAY_INLINE void SpreadHalvesMinima(const std::byte* from, std::byte* to) {
  CAUSEWAY_UNROLL for (int64_t i = 0; i < 256; i += kVectorBytes) {
    const Bytes both = LoadBytes(from + i);
    StoreBytes(to + i, Field<4, 0, 0>(both));
    StoreBytes(to + 256 + i, Field<4, 4, 0>(both));
  }
}

template <PackedKind kKind>
CAUSEWAY_INLINE void Spread(const std::byte* numbers, std::byte* to) {
  constexpr PackedParams kParams = TraitsOf(kKind).params;
  if constexpr (kParams == PackedParams::kSixBit) {
    SpreadSixBits(numbers, to);
  } else if constexpr (kParams == PackedParams::kHalvesSixBit) {
    SpreadHalvesSixBits(numbers, to);
  } else if constexpr (kParams == PackedParams::kHalvesMin) {
    SpreadHalvesMinima(numbers, to);
  }
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
