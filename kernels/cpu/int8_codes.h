// Quads of a panel's groups as they are multiplied. Included by int8_params.h only.
//
// Beside its operations, int8_vec_*.h says of an instruction set
//   kParts, kRegisters  registers that four k of a panel's sixteen rows take, and all there are
//   kSignedBytes        bytes and numbers of tables are multiplied as signed numbers
//   kStartsFromOffset   sums of products start from what the offset takes off: it costs nothing there
//   kUnpacksFields      codes that share a byte are worth unpacking for many rows of x
//   kScalesIntegers     scales of super-blocks, whole numbers, are best multiplied with integers
//   PairedQuads         quads whose products add up in pairs of 16 bits; 0: all do in 32
//   kLongInTwoSums      halves of long numbers are multiplied side by side, in sums of their own
//   kLongInTwoPasses    or one after the other, in one sum; else AddLongProducts takes both
//   kMaxHeight, WidthOf how many rows of x and panels a tile has
#pragma once

#include <utility>

#if defined(CAUSEWAY_ISA_AVX512_VNNI)
#include "kernels/cpu/int8_vec_avx512.h"
#elif defined(CAUSEWAY_ISA_NEON)
#include "kernels/cpu/int8_vec_neon.h"
#else
#include "kernels/cpu/int8_vec_avx2.h"
#endif
#if !defined(CAUSEWAY_ISA_NEON)
#include "kernels/cpu/int8_e4m3.h"
#endif

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr int64_t kPartBytes = 64 / kParts;  // of a quad

// Whether codes are multiplied as signed numbers: bytes less 128, or a table's.
constexpr bool IsSigned(const PackedTraits& traits) {
  return kSignedBytes && (traits.bits == 8 || traits.table != PackedTable::kNone);
}
// What is still to be taken off the codes then.
constexpr int OffsetLeft(const PackedTraits& traits) { return IsSigned(traits) ? 0 : traits.offset; }

// Whether sums of products are multiplied with their scales as integers, which then add up over all that meets one
// scale of x.
constexpr bool ScalesIntegers(const PackedTraits& traits) { return kScalesIntegers && traits.supers(); }

// Whether many rows of x had better find the codes unpacked: those that are put together from two planes, in any case.
constexpr bool UnpacksCodes(const PackedTraits& traits) {
  return traits.small_floats() || traits.high_bits() > 0 || (kUnpacksFields && traits.bits < 8);
}

// The order that quads are taken in: low and high nibbles of the same bytes one after the other.
constexpr int QuadAt(const PackedTraits& traits, int i) {
  return traits.low_bits() == 4 && !traits.halves() ? i / 2 + i % 2 * 4 : i;
}

// Fields of `kBits` bits of quad `kQuad` from a plane of a group, moved to bit `kTo` of each byte; others are anything.
template <int kBits, int kQuad, int kTo>
CAUSEWAY_INLINE Bytes LoadFields(const std::byte* plane) {
  constexpr int kInVector = 8 / kBits;
  constexpr int kVector = kBits == 4 ? kQuad % 4 : kQuad / kInVector;
  constexpr int kShift = (kBits == 4 ? kQuad / 4 * 4 : kQuad % kInVector * kBits) - kTo;
  const Bytes stored = LoadBytes(plane + kVector * 64);
  if constexpr (kShift > 0) {
    return ShiftRight<kShift>(stored);
  } else if constexpr (kShift < 0) {
    return ShiftLeft<-kShift>(stored);
  } else {
    return stored;
  }
}

// Codes of quad `kQuad` of a group of the rows of a part (`group` points at them).
template <PackedKind kKind, int kQuad>
CAUSEWAY_INLINE Bytes LoadCodes(const std::byte* group) {
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  constexpr int kLow = kTraits.low_bits();
  constexpr int kHigh = kTraits.high_bits();
  if constexpr (kLow == 8) {
    return LoadBytes(group + kQuad * 64);
  } else {
    Bytes codes = And(LoadFields<kLow, kQuad, 0>(group), (1 << kLow) - 1);
    if constexpr (kHigh > 0) {
      codes = Or(codes, And(LoadFields<kHigh, kQuad, kLow>(group + kLow * 64), ((1 << kHigh) - 1) << kLow));
    }
    return codes;
  }
}

// A quad as it is multiplied: codes, or the numbers of a table, signed or plus the offset; of long ones both halves,
// and the offset is the high one's.
struct Quad {
  Bytes high, low;
};
template <PackedKind kKind, int kQuad, bool kUnpacked = false>
CAUSEWAY_INLINE Quad LoadQuad(const std::byte* group) {
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  if constexpr (kUnpacked) {
    return {LoadBytes(group + kQuad * 64), LoadBytes(group + (kTraits.long_numbers() ? kQuads : 0) * 64 + kQuad * 64)};
  } else {
    const Bytes codes = LoadCodes<kKind, kQuad>(group);
    if constexpr (kTraits.table == PackedTable::kE4M3) {
      Quad quad;
      SplitE4M3(codes, quad.high, quad.low);
      quad.high = IsSigned(kTraits) ? quad.high : FlipSigns(quad.high);
      return quad;
    } else if constexpr (kTraits.table != PackedTable::kNone) {
      static constexpr NumberBytes kNumbers = BytesOfNumbers(kTraits.table, OffsetLeft(kTraits));
      return {LookUp(kNumbers.high, codes), LookUp(kNumbers.low, codes)};
    } else {
      const Bytes numbers = IsSigned(kTraits) ? FlipSigns(codes) : codes;
      return {numbers, numbers};
    }
  }
}

// The quads of a group, for LoadQuad of unpacked ones.
template <PackedKind kKind, int kQuad>
CAUSEWAY_INLINE void UnpackQuad(const std::byte* group, std::byte* to) {
  CAUSEWAY_UNROLL for (int64_t at = 0; at < 64; at += kPartBytes) {
    const Quad quad = LoadQuad<kKind, kQuad>(group + at);
    StoreBytes(to + kQuad * 64 + at, quad.high);
    if constexpr (TraitsOf(kKind).long_numbers()) {
      StoreBytes(to + (kQuads + kQuad) * 64 + at, quad.low);
    }
  }
}
template <PackedKind kKind, int... kQuad>
void UnpackCodes(const std::byte* group, std::byte* to, std::integer_sequence<int, kQuad...>) {
  (UnpackQuad<kKind, kQuad>(group, to), ...);
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
