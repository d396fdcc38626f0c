// Quads of a panel's groups, and their products with x. Included by int8_tile_avx2.h only.
#pragma once

#include "kernels/cpu/int8_e4m3.h"
#include "kernels/cpu/int8_vec_avx2.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

#if defined(CAUSEWAY_ISA_AVX2_VNNI)
constexpr bool kHasVnni = true;
#else
constexpr bool kHasVnni = false;
#endif
// Whether codes are multiplied as signed numbers: bytes less 128, or a table's.
constexpr bool IsSigned(const PackedTraits& traits) {
  return !kHasVnni && (traits.bits == 8 || traits.table != PackedTable::kNone);
}
// What is still to be taken off the codes then.
constexpr int OffsetLeft(const PackedTraits& traits) { return IsSigned(traits) ? 0 : traits.offset; }
// Quads whose products add up without widening.
constexpr int QuadsTogether(const PackedTraits& traits) {
  return kHasVnni || IsSigned(traits) || traits.bits <= 4 ? kQuads : traits.bits == 5 ? 4 : 2;
}
// The order that quads are taken in: low and high nibbles of the same bytes one after the other.
constexpr int QuadAt(const PackedTraits& traits, int i) {
  return traits.low_bits() == 4 && !traits.halves() ? i / 2 + i % 2 * 4 : i;
}

// Fields of `kBits` bits of quad `kQuad` from a plane of a group, moved to bit `kTo` of each byte; others are anything.
template <int kBits, int kQuad, int kTo>
CAUSEWAY_INLINE __m256i LoadFields(const std::byte* plane) {
  constexpr int kInVector = 8 / kBits;
  constexpr int kVector = kBits == 4 ? kQuad % 4 : kQuad / kInVector;
  constexpr int kShift = (kBits == 4 ? kQuad / 4 * 4 : kQuad % kInVector * kBits) - kTo;
  const __m256i stored = LoadHalf(plane + kVector * 64);
  if constexpr (kShift > 0) {
    return _mm256_srli_epi16(stored, kShift);
  } else if constexpr (kShift < 0) {
    return _mm256_slli_epi16(stored, -kShift);
  } else {
    return stored;
  }
}

// Codes of quad `kQuad` of half of a panel's rows (`group` points at them).
template <PackedKind kKind, int kQuad>
CAUSEWAY_INLINE __m256i LoadCodes(const std::byte* group) {
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  constexpr int kLow = kTraits.low_bits();
  constexpr int kHigh = kTraits.high_bits();
  if constexpr (kLow == 8) {
    return LoadHalf(group + kQuad * 64);
  } else {
    __m256i codes = And(LoadFields<kLow, kQuad, 0>(group), (1 << kLow) - 1);
    if constexpr (kHigh > 0) {
      const __m256i high = LoadFields<kHigh, kQuad, kLow>(group + kLow * 64);
      codes = _mm256_or_si256(codes, And(high, ((1 << kHigh) - 1) << kLow));
    }
    return codes;
  }
}

// A quad as it is multiplied: codes, or the numbers of a table, signed or plus the offset; of long ones the offset is
// the high half's.
struct Quad {
  __m256i high, low;
};
template <PackedKind kKind, int kQuad, bool kUnpacked = false>
CAUSEWAY_INLINE Quad LoadQuad(const std::byte* group) {
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  if constexpr (kUnpacked) {
    return {LoadHalf(group + kQuad * 64), LoadHalf(group + (kTraits.long_numbers() ? kQuads : 0) * 64 + kQuad * 64)};
  }
  const __m256i codes = LoadCodes<kKind, kQuad>(group);
  if constexpr (kTraits.table == PackedTable::kE4M3) {
    Quad quad;
    SplitE4M3(codes, quad.high, quad.low);
    quad.high = kHasVnni ? FlipSigns(quad.high) : quad.high;
    return quad;
  } else if constexpr (kTraits.table != PackedTable::kNone) {
    static constexpr NumberBytes kNumbers = BytesOfNumbers(kTraits.table, OffsetLeft(kTraits));
    return {_mm256_shuffle_epi8(InAllLanes(kNumbers.high), codes),
            _mm256_shuffle_epi8(InAllLanes(kNumbers.low), codes)};
  } else {
    const __m256i numbers = IsSigned(kTraits) ? FlipSigns(codes) : codes;
    return {numbers, numbers};
  }
}

// The quads of a group, for LoadQuad of unpacked ones.
template <PackedKind kKind, int kQuad>
CAUSEWAY_INLINE void UnpackQuad(const std::byte* group, std::byte* to) {
  CAUSEWAY_UNROLL for (int half = 0; half < 64; half += 32) {
    const Quad quad = LoadQuad<kKind, kQuad>(group + half);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + kQuad * 64 + half), quad.high);
    if constexpr (TraitsOf(kKind).long_numbers()) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + (kQuads + kQuad) * 64 + half), quad.low);
    }
  }
}

template <PackedKind kKind, int... kQuad>
void UnpackCodes(const std::byte* group, std::byte* to, std::integer_sequence<int, kQuad...>) {
  (UnpackQuad<kKind, kQuad>(group, to), ...);
}

// Unsigned times signed bytes, of which the former's sign goes to the latter: pairs of 16 bits.
inline __m256i MultiplySigned(__m256i weights, __m256i four) {
  return _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(four, weights));
}
// sum + a quad's products: pairs of 16 bits where codes are unsigned and there is no VNNI, else 32 bits. Of long
// numbers with VNNI one half at a time.
template <PackedKind kKind, bool kLow>
CAUSEWAY_INLINE __m256i AddProducts(__m256i sum, const Quad& weights, __m256i four) {
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  if constexpr (kHasVnni) {
    return DotBytes(sum, kLow ? weights.low : weights.high, four);
  } else if constexpr (kTraits.long_numbers()) {
    const __m256i high = _mm256_madd_epi16(MultiplySigned(weights.high, four), _mm256_set1_epi16(128));
    const __m256i low = WidenPairs(_mm256_maddubs_epi16(weights.low, four));
    return _mm256_add_epi32(sum, _mm256_add_epi32(high, low));
  } else if constexpr (IsSigned(kTraits)) {
    return _mm256_add_epi32(sum, WidenPairs(MultiplySigned(weights.high, four)));
  } else {
    return _mm256_add_epi16(sum, _mm256_maddubs_epi16(weights.high, four));
  }
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
