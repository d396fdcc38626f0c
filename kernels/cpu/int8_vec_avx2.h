// The integer tile with AVX2: a panel's sixteen rows are two registers of four k of eight rows each; both share what is
// read of x. Included by int8_codes.h only.
#pragma once

#include "kernels/cpu/int8_sums_avx2.h"
#include "kernels/packed.h"
#include "kernels/quantized_x.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

#if defined(CAUSEWAY_ISA_AVX2_VNNI)
constexpr bool kHasVnni = true;
#else
constexpr bool kHasVnni = false;
#endif
constexpr int kMaxHeight = 6;                                      // rows of x in a tile
constexpr int WidthOf(int height) { return height == 2 ? 2 : 1; }  // panels in a tile

// Without VNNI, products of codes of up to six bits add up in 16 bits over a few quads (31 * 2 * 127 * 4 < 32768);
// longer ones give the sign of the weight to x, so that the unsigned operand is |code| <= 128 and a pair fits (2 * 128
// * 127 < 32768). With it all codes are unsigned and add up in 32 bits, from the offset on, which is added anyway.
constexpr bool kSignedBytes = !kHasVnni;
constexpr bool kStartsFromOffset = kHasVnni;
constexpr bool kUnpacksFields = !kHasVnni;
constexpr bool kUnpacksSigns = !kHasVnni;    // vpsignb takes the multipliers' pipes (of a Zen 4), vpxor any
constexpr bool kScalesIntegers = !kHasVnni;  // widening pairs multiplies them anyway
constexpr bool kLongInTwoSums = false;
constexpr bool kLongInTwoPasses = kHasVnni;
constexpr int PairedQuads(const PackedTraits& traits, bool is_signed) {
  return kHasVnni || is_signed ? 0 : traits.bits <= 4 ? kQuads : traits.bits == 5 ? 4 : 2;
}

using Bytes = __m256i;
using Ints = __m256i;

inline Bytes LoadBytes(const std::byte* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline void StoreBytes(std::byte* p, Bytes bytes) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), bytes); }
inline Bytes BroadcastFour(const std::byte* p) {
  int32_t four;
  std::memcpy(&four, p, sizeof(four));
  return _mm256_set1_epi32(four);
}
// Of fields of bytes: what comes from the neighbour is for the caller to mask.
template <int kBits>
inline Bytes ShiftRight(Bytes bytes) {
  return _mm256_srli_epi16(bytes, kBits);
}
template <int kBits>
inline Bytes ShiftLeft(Bytes bytes) {
  return _mm256_slli_epi16(bytes, kBits);
}
inline Bytes And(Bytes bytes, int mask) { return _mm256_and_si256(bytes, _mm256_set1_epi8(static_cast<char>(mask))); }
inline Bytes Or(Bytes a, Bytes b) { return _mm256_or_si256(a, b); }
inline Bytes Less(Bytes bytes, int by) { return _mm256_sub_epi8(bytes, _mm256_set1_epi8(static_cast<char>(by))); }
inline Bytes FlipSigns(Bytes bytes) { return _mm256_xor_si256(bytes, _mm256_set1_epi8(static_cast<char>(0x80))); }
inline Bytes InAllLanes(const int8_t (&bytes)[16]) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
}
// Codes below 16 to the table's bytes.
inline Bytes LookUp(const int8_t (&table)[16], Bytes codes) { return _mm256_shuffle_epi8(InAllLanes(table), codes); }

// Numbers of the rows of a part; bytes are unsigned.
inline Ints BytesAt(const std::byte* p, int64_t part) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p + part * 8)));
}
inline Floats ToFloats(Ints whole) { return _mm256_cvtepi32_ps(whole); }
inline Floats SignedFloats(const std::byte* p, int64_t part) {
  return ToFloats(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p + part * 8))));
}
inline Floats HalfFloats(const std::byte* p, int64_t part) { return LoadF16(p + part * 16); }
inline Floats BrainFloats(const std::byte* p, int64_t part) { return LoadBF16(p + part * 16); }
inline Floats FloatsAt(const float* p, int64_t part) { return _mm256_loadu_ps(p + part * 8); }
inline void StoreFloats(float* p, int64_t part, Floats floats) { _mm256_storeu_ps(p + part * 8, floats); }
inline Floats AllLanes(float x) { return _mm256_set1_ps(x); }
inline Floats Multiply(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
inline Floats FusedMultiplyAdd(Floats a, Floats b, Floats sum) { return _mm256_fmadd_ps(a, b, sum); }

inline Ints AllInts(int32_t x) { return _mm256_set1_epi32(x); }
inline Ints AddInts(Ints a, Ints b) { return _mm256_add_epi32(a, b); }
// A sum of high halves as that of numbers.
inline Ints FromHighHalf(Ints sum) { return _mm256_slli_epi32(sum, 7); }
// Pairs of 16 bits: the sum of both products, a lane of 32.
inline Ints MultiplyPairs(Ints a, Ints b) { return _mm256_madd_epi16(a, b); }
inline Ints WidenPairs(Ints pairs) { return MultiplyPairs(pairs, _mm256_set1_epi16(1)); }
// sum + the products of unsigned bytes with signed ones, four to a lane: what AVX-VNNI does at once.
inline __m256i DotBytes(__m256i sum, __m256i u, __m256i s) {
#if defined(CAUSEWAY_ISA_AVX2_VNNI) && !defined(CAUSEWAY_EMULATE_VNNI)
  return _mm256_dpbusd_avx_epi32(sum, u, s);
#else
  const __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(u, 8), _mm256_srai_epi16(s, 8));
  const __m256i even =
      _mm256_madd_epi16(_mm256_and_si256(u, _mm256_set1_epi16(0xff)), _mm256_srai_epi16(_mm256_slli_epi16(s, 8), 8));
  return _mm256_add_epi32(sum, _mm256_add_epi32(odd, even));
#endif
}
// Pairs of 16 bits: the former's sign goes to the latter.
inline Ints MultiplySigned(Bytes weights, Bytes four) {
  return _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(four, weights));
}
// The same of magnitudes and of signs, 0 or -1, whose flips leave -x - 1: short of the magnitude of what is negative.
inline Ints MultiplyFlipped(Bytes magnitudes, Bytes signs, Bytes four) {
  return _mm256_maddubs_epi16(magnitudes, _mm256_xor_si256(four, signs));
}
inline Bytes Magnitudes(Bytes numbers) { return _mm256_abs_epi8(numbers); }
inline Bytes SignsOf(Bytes numbers) { return _mm256_cmpgt_epi8(_mm256_setzero_si256(), numbers); }
// Of negative numbers, four to a lane: what is to be added for their flips.
inline Ints MagnitudesOfNegative(Bytes numbers) {
  return WidenPairs(_mm256_maddubs_epi16(_mm256_and_si256(Magnitudes(numbers), SignsOf(numbers)), _mm256_set1_epi8(1)));
}
// sum + a quad's products: in 32 bits, or in pairs of 16 where PairedQuads says so.
template <bool kSigned>
CAUSEWAY_INLINE Ints AddProducts(Ints sum, Bytes weights, Bytes four) {
  if constexpr (kHasVnni) {
    return DotBytes(sum, weights, four);
  } else if constexpr (kSigned) {
    return _mm256_add_epi32(sum, WidenPairs(MultiplySigned(weights, four)));
  } else {
    return _mm256_add_epi16(sum, _mm256_maddubs_epi16(weights, four));
  }
}
// sum + the products of numbers of 15 bits.
inline Ints AddLongProducts(Ints sum, Bytes high, Bytes low, Bytes four) {
  const Ints of_high = MultiplyPairs(MultiplySigned(high, four), _mm256_set1_epi16(128));
  return AddInts(sum, AddInts(of_high, WidenPairs(_mm256_maddubs_epi16(low, four))));
}
// In its register: else g++ multiplies far ahead and stores the products.
inline void KeepInRegister(Ints& sum) { asm volatile("" : "+v"(sum)); }

// What is taken off the products of a group: zero points, or an offset, times the sum of x's codes or of half of them.
template <int kLess>
inline Ints ZerosAt(const std::byte* p, int64_t part) {
  const Ints bytes = BytesAt(p, part);  // as pairs of 16 bits, the upper ones 0
  return kLess == 0 ? bytes : _mm256_and_si256(_mm256_sub_epi32(bytes, AllInts(kLess)), AllInts(0xffff));
}
// The sums of x, whole and of the second half, as pairs of 16 bits in all lanes.
inline __m256i MinusSums(const XGroup& group) {
  int32_t both;
  std::memcpy(&both, &group.minus_sum, sizeof(both));
  return _mm256_set1_epi32(both);
}
inline __m256i MinusPair(const XGroup& group) {  // of this group and the next
  int32_t both;
  std::memcpy(&both, group.minus_pair, sizeof(both));
  return _mm256_set1_epi32(both);
}
inline Ints TimesMinusSum(Ints zeros, const XGroup& group) { return _mm256_madd_epi16(zeros, MinusSums(group)); }
template <int kOffset>
inline Ints TimesMinusSum(const XGroup& group) {
  constexpr int kShift = __builtin_ctz(static_cast<unsigned>(kOffset)) - 3;
  return _mm256_slli_epi32(AllInts(group.minus_eight_sums), kShift);
}
template <int kOffset, int kHalf>
inline Ints TimesMinusHalf(const XGroup& group) {
  constexpr int kBoth = kHalf == 0 ? (kOffset | -kOffset * 65536) : kOffset * 65536;
  return _mm256_madd_epi16(MinusSums(group), AllInts(kBoth));
}

// Bytes of the rows of a part, those at `first` beside those at `second`, as pairs of 16 bits.
inline __m128i BytePairs(const std::byte* first, const std::byte* second, int64_t part) {
  return _mm_unpacklo_epi8(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(first + part * 8)),
                           _mm_loadl_epi64(reinterpret_cast<const __m128i*>(second + part * 8)));
}
inline Ints SignedPairs(const std::byte* first, const std::byte* second, int64_t part) {
  return _mm256_cvtepi8_epi16(BytePairs(first, second, part));
}
inline Ints UnsignedPairs(const std::byte* first, const std::byte* second, int64_t part) {
  return _mm256_cvtepu8_epi16(BytePairs(first, second, part));
}
// Of numbers of both halves what MinusSums, of which the first holds all, is multiplied with.
inline Ints ForMinusSums(Ints halves) { return _mm256_sub_epi16(halves, _mm256_slli_epi32(halves, 16)); }
template <int kTimes>
inline Ints ShiftPairsLeft(Ints pairs) {
  return _mm256_slli_epi16(pairs, __builtin_ctz(static_cast<unsigned>(kTimes)));
}
inline Ints IntsAt(const std::byte* p, int64_t part) { return LoadBytes(p + part * 32); }
inline void StoreInts(std::byte* p, int64_t part, Ints ints) { StoreBytes(p + part * 32, ints); }

// Pairs of bytes, and lanes of 32 bits, as small floats are made of them.
inline Bytes Xor(Bytes a, Bytes b) { return _mm256_xor_si256(a, b); }
inline Bytes AndPairs(Bytes pairs, int16_t mask) { return _mm256_and_si256(pairs, _mm256_set1_epi16(mask)); }
inline Bytes SubtractPairs(Bytes a, Bytes b) { return _mm256_sub_epi16(a, b); }
template <int kBits>
inline Bytes ShiftPairsRight(Bytes pairs) {  // signed
  return _mm256_srai_epi16(pairs, kBits);
}
inline Bytes MultiplyRounded(Bytes a, Bytes b) { return _mm256_mulhrs_epi16(a, b); }  // (a * b + 2^14) >> 15
inline Bytes InterleaveLower(Bytes a, Bytes b) { return _mm256_unpacklo_epi8(a, b); }
inline Bytes InterleaveUpper(Bytes a, Bytes b) { return _mm256_unpackhi_epi8(a, b); }
inline Bytes NarrowSigned(Bytes lower, Bytes upper) { return _mm256_packs_epi16(lower, upper); }
inline Ints AndInts(Ints ints, int32_t mask) { return _mm256_and_si256(ints, _mm256_set1_epi32(mask)); }
template <int kBits>
inline Ints ShiftIntsLeft(Ints ints) {
  return _mm256_slli_epi32(ints, kBits);
}
inline Floats FloatsOfBits(Ints bits) { return _mm256_castsi256_ps(bits); }

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
