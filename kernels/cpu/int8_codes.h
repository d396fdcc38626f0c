// Quads of a panel's groups as they are multiplied. Included by int8_params.h only.
//
// Beside its operations, int8_vec_*.h says of an instruction set
//   kParts, kRegisters  registers that four k of a panel's sixteen rows take, and all there are
//   kSignedBytes        bytes and numbers of tables are multiplied as signed numbers
//   kStartsFromOffset   sums of products start from what the offset takes off: it costs nothing there
//   kUnpacksFields      codes that share a byte are worth unpacking for many rows of x
//   kUnpacksSigns       and so are the signs of signed codes, apart from their magnitudes
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

// Whether signs are unpacked apart from magnitudes, of numbers of a byte.
constexpr bool UnpacksSigns(const PackedTraits& traits) {
  return kUnpacksSigns && IsSigned(traits) && !traits.long_numbers();
}

// Whether many rows of x had better find the codes unpacked: those that are put together from two planes, in any case.
constexpr bool UnpacksCodes(const PackedTraits& traits) {
  return traits.small_floats() || traits.high_bits() > 0 || (kUnpacksFields && traits.bits < 8) || UnpacksSigns(traits);
}
// Of a group then: quads as they are multiplied; of long numbers the high halves and then the low ones; where signs are
// unpacked magnitudes, signs, and for each row, of halves that have their own scales apart, the sum of the magnitudes
// of what is negative.
constexpr int64_t kPlaneBytes = kQuads * 64;
constexpr int64_t kFlippedAt = 2 * kPlaneBytes;
constexpr int64_t UnpackedCodeBytes(const PackedTraits& traits) {
  return UnpacksSigns(traits) ? kFlippedAt + (traits.halves() ? 2 : 1) * 64
                              : kPlaneBytes * (traits.long_numbers() ? 2 : 1);
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
// and the offset is the high one's; unpacked, magnitudes and signs.
struct Quad {
  Bytes high, low;
};
template <PackedKind kKind, int kQuad, bool kUnpacked = false>
CAUSEWAY_INLINE Quad LoadQuad(const std::byte* group) {
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  if constexpr (kUnpacked) {
    constexpr bool kTwoPlanes = kTraits.long_numbers() || UnpacksSigns(kTraits);
    return {LoadBytes(group + kQuad * 64), LoadBytes(group + (kTwoPlanes ? kPlaneBytes : 0) + kQuad * 64)};
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

// The quads of a group, for LoadQuad of unpacked ones; adds to `negative` what is to be kept of those.
template <PackedKind kKind, int kQuad>
CAUSEWAY_INLINE void UnpackQuad(const std::byte* group, std::byte* to, Ints (&negative)[kParts]) {
  CAUSEWAY_UNROLL for (int64_t part = 0; part < kParts; ++part) {
    const int64_t at = part * kPartBytes;
    const auto quad = LoadQuad<kKind, kQuad>(group + at);
    if constexpr (UnpacksSigns(TraitsOf(kKind))) {
      StoreBytes(to + kQuad * 64 + at, Magnitudes(quad.high));
      StoreBytes(to + kPlaneBytes + kQuad * 64 + at, SignsOf(quad.high));
      negative[part] = AddInts(negative[part], MagnitudesOfNegative(quad.high));
    } else {
      StoreBytes(to + kQuad * 64 + at, quad.high);
      if constexpr (TraitsOf(kKind).long_numbers()) {
        StoreBytes(to + kPlaneBytes + kQuad * 64 + at, quad.low);
      }
    }
  }
}
template <PackedKind kKind, int... kQuad>
void UnpackCodes(const std::byte* group, std::byte* to, std::integer_sequence<int, kQuad...>) {
  constexpr int kSums = TraitsOf(kKind).halves() ? 2 : 1;
  Ints negative[kSums][kParts];
  CAUSEWAY_UNROLL for (int i = 0; i < kSums * kParts; ++i) { negative[i / kParts][i % kParts] = AllInts(0); }
  (UnpackQuad<kKind, kQuad>(group, to, negative[kQuad * kSums / kQuads]), ...);
  if constexpr (UnpacksSigns(TraitsOf(kKind))) {
    CAUSEWAY_UNROLL for (int i = 0; i < kSums * kParts; ++i) {
      StoreInts(to + kFlippedAt + i / kParts * 64, i % kParts, negative[i / kParts][i % kParts]);
    }
  }
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
