// Quads of a panel's groups as vpdpbusd wants them. Included by int8_tile_avx512.h only.
#pragma once

#include "kernels/cpu/int8_e4m3.h"
#include "kernels/cpu/int8_vec_avx512.h"
#include "kernels/packed.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

// Fields of `kBits` bits from a plane of a group, quad `kQuad`'s, their lowest bit moved to bit `kTo` of each byte;
// other bits are anything.
template <int kBits, int kQuad, int kTo>
CAUSEWAY_INLINE __m512i LoadFields(const std::byte* plane) {
  constexpr int kInVector = 8 / kBits;
  constexpr int kVector = kBits == 4 ? kQuad % 4 : kQuad / kInVector;
  constexpr int kShift = (kBits == 4 ? kQuad / 4 * 4 : kQuad % kInVector * kBits) - kTo;
  const __m512i stored = LoadBytes(plane + kVector * 64);
  if constexpr (kShift > 0) {
    return _mm512_srli_epi16(stored, kShift);
  } else if constexpr (kShift < 0) {
    return _mm512_slli_epi16(stored, -kShift);
  } else {
    return stored;
  }
}

// Codes of quad `kQuad` of a group.
template <PackedKind kKind, int kQuad>
CAUSEWAY_INLINE __m512i LoadCodes(const std::byte* group) {
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  constexpr int kLow = kTraits.low_bits();
  constexpr int kHigh = kTraits.high_bits();
  if constexpr (kLow == 8) {
    return LoadBytes(group + kQuad * 64);
  } else {
    __m512i codes = And(LoadFields<kLow, kQuad, 0>(group), (1 << kLow) - 1);
    if constexpr (kHigh > 0) {
      codes = OrAnd(codes, LoadFields<kHigh, kQuad, kLow>(group + kLow * 64), ((1 << kHigh) - 1) << kLow);
    }
    return codes;
  }
}

// A quad as it is multiplied, unsigned: codes, or the numbers of a table plus the offset; of long ones the offset is
// the high half's.
struct Quad {
  __m512i high, low;
};
template <PackedKind kKind, int kQuad, bool kUnpacked = false>
CAUSEWAY_INLINE Quad LoadQuad(const std::byte* group) {
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  if constexpr (kUnpacked) {
    return {LoadBytes(group + kQuad * 64), LoadBytes(group + (kTraits.long_numbers() ? kQuads : 0) * 64 + kQuad * 64)};
  }
  const __m512i codes = LoadCodes<kKind, kQuad>(group);
  if constexpr (kTraits.table == PackedTable::kNone) {
    return {codes, codes};
  } else if constexpr (kTraits.table == PackedTable::kE4M3) {
    Quad quad;
    SplitE4M3(codes, quad.high, quad.low);
    return quad;
  } else {
    static constexpr NumberBytes kNumbers = BytesOfNumbers(kTraits.table, kTraits.offset);
    return {LookUp(kNumbers.high, codes), LookUp(kNumbers.low, codes)};
  }
}

// The quads of a group, for LoadQuad of unpacked ones.
template <PackedKind kKind, int kQuad>
CAUSEWAY_INLINE void UnpackQuad(const std::byte* group, std::byte* to) {
  const Quad quad = LoadQuad<kKind, kQuad>(group);
  _mm512_storeu_si512(to + kQuad * 64, quad.high);
  if constexpr (TraitsOf(kKind).long_numbers()) {
    _mm512_storeu_si512(to + (kQuads + kQuad) * 64, quad.low);
  }
}

template <PackedKind kKind, int... kQuad>
void UnpackCodes(const std::byte* group, std::byte* to, std::integer_sequence<int, kQuad...>) {
  (UnpackQuad<kKind, kQuad>(group, to), ...);
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
