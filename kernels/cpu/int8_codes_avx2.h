// Quads of a panel's groups, and their products with x. Included by int8_tile_avx2.h only.
#pragma once

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

// Quad `kQuad` of half of a panel's rows (`group` points at them): codes (what a table holds for them, plus the
// offset), or signed numbers.
template <PackedKind kKind, int kQuad>
CAUSEWAY_INLINE __m256i LoadQuad(const std::byte* group) {
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  constexpr int kLow = kTraits.low_bits();
  constexpr int kHigh = kTraits.high_bits();
  if constexpr (kLow == 8) {
    const __m256i codes = LoadHalf(group + kQuad * 64);
    return IsSigned(kTraits) ? _mm256_xor_si256(codes, _mm256_set1_epi8(static_cast<char>(0x80))) : codes;
  } else {
    __m256i codes = And(LoadFields<kLow, kQuad, 0>(group), (1 << kLow) - 1);
    if constexpr (kHigh > 0) {
      const __m256i high = LoadFields<kHigh, kQuad, kLow>(group + kLow * 64);
      codes = _mm256_or_si256(codes, And(high, ((1 << kHigh) - 1) << kLow));
    }
    if constexpr (kTraits.table != PackedTable::kNone) {
      const auto* const table = reinterpret_cast<const __m128i*>(kPackedTables[static_cast<int>(kTraits.table)]);
      const __m128i offset = _mm_set1_epi8(static_cast<char>(OffsetLeft(kTraits)));
      const __m128i numbers = _mm_add_epi8(_mm_loadu_si128(table), offset);
      codes = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(numbers), codes);
    }
    return codes;
  }
}

// sum + a quad's products: pairs of 16 bits where codes are unsigned and there is no VNNI, else 32 bits.
template <PackedKind kKind>
CAUSEWAY_INLINE __m256i AddProducts(__m256i sum, __m256i weights, __m256i four) {
  if constexpr (kHasVnni) {
    return DotBytes(sum, weights, four);
  } else if constexpr (IsSigned(TraitsOf(kKind))) {
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(four, weights));
    return _mm256_add_epi32(sum, WidenPairs(pairs));
  } else {
    return _mm256_add_epi16(sum, _mm256_maddubs_epi16(weights, four));
  }
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
