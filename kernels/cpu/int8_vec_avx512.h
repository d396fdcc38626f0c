// The integer tile with AVX-512 VNNI: a panel's sixteen rows are one register of four k of each, vpdpbusd adds their
// products with a broadcast four of x. SIMDe lacks VNNI and masked forms: spelt out. Included by int8_codes.h only.
#pragma once

#include "kernels/cpu/int8_sums_avx512.h"
#include "kernels/packed.h"
#include "kernels/quantized_x.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr int kMaxHeight = 6;  // rows of x in a tile
// Panels in a tile: about a dozen sums of integers keep the multipliers busy.
constexpr int WidthOf(int height) { return height <= 2 ? 1 : height <= 4 ? 3 : 2; }

constexpr bool kSignedBytes = false;      // weights are vpdpbusd's unsigned operand
constexpr bool kStartsFromOffset = true;  // the integers: it is added to anyway
constexpr bool kUnpacksFields = false;
constexpr bool kUnpacksSigns = false;
constexpr bool kScalesIntegers = false;
constexpr bool kLongInTwoSums = true;
constexpr bool kLongInTwoPasses = false;
constexpr int PairedQuads(const PackedTraits&, bool) { return 0; }

using Bytes = __m512i;
using Ints = __m512i;

inline Bytes LoadBytes(const std::byte* p) { return _mm512_loadu_si512(p); }
inline void StoreBytes(std::byte* p, Bytes bytes) { _mm512_storeu_si512(p, bytes); }
inline Bytes BroadcastFour(const std::byte* p) {
  int32_t four;
  std::memcpy(&four, p, sizeof(four));
  return _mm512_set1_epi32(four);
}
// Of fields of bytes: what comes from the neighbour is for the caller to mask.
template <int kBits>
inline Bytes ShiftRight(Bytes bytes) {
  return _mm512_srli_epi16(bytes, kBits);
}
template <int kBits>
inline Bytes ShiftLeft(Bytes bytes) {
  return _mm512_slli_epi16(bytes, kBits);
}
inline Bytes And(Bytes bytes, int mask) { return _mm512_and_si512(bytes, _mm512_set1_epi8(static_cast<char>(mask))); }
inline Bytes Or(Bytes a, Bytes b) { return _mm512_or_si512(a, b); }
inline Bytes Less(Bytes bytes, int by) { return _mm512_sub_epi8(bytes, _mm512_set1_epi8(static_cast<char>(by))); }
inline Bytes FlipSigns(Bytes bytes) { return _mm512_xor_si512(bytes, _mm512_set1_epi8(static_cast<char>(0x80))); }
inline Bytes InAllLanes(const int8_t (&bytes)[16]) {
  return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
}
// Codes below 16 to the table's bytes.
inline Bytes LookUp(const int8_t (&table)[16], Bytes codes) { return _mm512_shuffle_epi8(InAllLanes(table), codes); }

#if defined(CAUSEWAY_EMULATE_AVX512)
inline __m512i DotBytes(__m512i acc, __m512i u, __m512i s) {
  alignas(64) int32_t sums[16];
  alignas(64) uint8_t us[64];
  alignas(64) int8_t ss[64];
  _mm512_storeu_si512(sums, acc);
  _mm512_storeu_si512(us, u);
  _mm512_storeu_si512(ss, s);
  for (int i = 0; i < 64; ++i) {
    sums[i / 4] += us[i] * ss[i];
  }
  return _mm512_loadu_si512(sums);
}
inline __m512i MultiplyPairs(__m512i a, __m512i b) {
  alignas(64) int16_t as[32];
  alignas(64) int16_t bs[32];
  alignas(64) int32_t sums[16];
  _mm512_storeu_si512(as, a);
  _mm512_storeu_si512(bs, b);
  for (int i = 0; i < 16; ++i) {
    sums[i] = as[2 * i] * bs[2 * i] + as[2 * i + 1] * bs[2 * i + 1];
  }
  return _mm512_loadu_si512(sums);
}
inline Ints BytesAt(const std::byte* p, int64_t /*part*/) {
  alignas(64) int32_t lanes[16];
  for (int i = 0; i < 16; ++i) {
    lanes[i] = static_cast<int32_t>(p[i]);
  }
  return _mm512_loadu_si512(lanes);
}
inline Floats ToFloats(Ints whole) {
  alignas(64) int32_t from[kLanes];
  float values[kLanes];
  _mm512_storeu_si512(from, whole);
  for (int i = 0; i < kLanes; ++i) {
    values[i] = static_cast<float>(from[i]);
  }
  return Load(values);
}
inline Floats SignedFloats(const std::byte* p, int64_t /*part*/) {
  float values[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    values[i] = static_cast<float>(static_cast<int8_t>(p[i]));
  }
  return Load(values);
}
#else
// Numbers of the rows of a part; bytes are unsigned.
inline Ints BytesAt(const std::byte* p, int64_t /*part*/) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline Floats ToFloats(Ints whole) { return _mm512_cvtepi32_ps(whole); }
inline Floats SignedFloats(const std::byte* p, int64_t /*part*/) {
  return ToFloats(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
// Pairs of 16 bits: the sum of both products, a lane of 32.
inline __m512i MultiplyPairs(__m512i a, __m512i b) { return _mm512_madd_epi16(a, b); }
inline __m512i DotBytes(__m512i acc, __m512i u, __m512i s) { return _mm512_dpbusd_epi32(acc, u, s); }
#endif

inline Floats FloatsAt(const float* p, int64_t /*part*/) { return Load(p); }
inline void StoreFloats(float* p, int64_t /*part*/, Floats floats) { Store(p, floats); }
inline Floats HalfFloats(const std::byte* p, int64_t /*part*/) { return LoadF16(p); }
inline Floats BrainFloats(const std::byte* p, int64_t /*part*/) { return LoadBF16(p); }
inline Floats AllLanes(float x) { return Set1(x); }
inline Floats Multiply(Floats a, Floats b) { return Mul(a, b); }
inline Floats FusedMultiplyAdd(Floats a, Floats b, Floats sum) { return Fma(a, b, sum); }

inline Ints AllInts(int32_t x) { return _mm512_set1_epi32(x); }
inline Ints AddInts(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
// A sum of high halves as that of numbers.
inline Ints FromHighHalf(Ints sum) { return _mm512_slli_epi32(sum, 7); }
template <bool kSigned>
inline Ints AddProducts(Ints sum, Bytes weights, Bytes four) {
  return DotBytes(sum, weights, four);
}
inline void KeepInRegister(Ints& /*sum*/) {}  // g++ does

// What is taken off the products of a group: zero points, or an offset, times the sum of x's codes or of half of them.
template <int kLess>
inline Ints ZerosAt(const std::byte* p, int64_t part) {
  static_assert(kLess == 0);
  return BytesAt(p, part);
}
// The sums of x, whole and of the second half, as pairs of 16 bits in all lanes.
inline __m512i MinusSums(const XGroup& group) {
  int32_t both;
  std::memcpy(&both, &group.minus_sum, sizeof(both));
  return _mm512_set1_epi32(both);
}
inline Ints TimesMinusSum(Ints zeros, const XGroup& group) { return MultiplyPairs(zeros, MinusSums(group)); }
template <int kOffset>
inline Ints TimesMinusSum(const XGroup& group) {
  constexpr int kShift = __builtin_ctz(static_cast<unsigned>(kOffset)) - 3;
  const Ints eight_times = AllInts(group.minus_eight_sums);
  return kShift == 0 ? eight_times : _mm512_slli_epi32(eight_times, kShift);
}
template <int kOffset, int kHalf>
inline Ints TimesMinusHalf(const XGroup& group) {
  constexpr int kBoth = kHalf == 0 ? (kOffset | -kOffset * 65536) : kOffset * 65536;
  return MultiplyPairs(MinusSums(group), AllInts(kBoth));
}

#if !defined(CAUSEWAY_EMULATE_AVX512)
// Pairs of bytes, and lanes of 32 bits, as small floats are made of them.
inline Bytes Xor(Bytes a, Bytes b) { return _mm512_xor_si512(a, b); }
inline Bytes AndPairs(Bytes pairs, int16_t mask) { return _mm512_and_si512(pairs, _mm512_set1_epi16(mask)); }
inline Bytes SubtractPairs(Bytes a, Bytes b) { return _mm512_sub_epi16(a, b); }
template <int kBits>
inline Bytes ShiftPairsRight(Bytes pairs) {  // signed
  return _mm512_srai_epi16(pairs, kBits);
}
inline Bytes MultiplyRounded(Bytes a, Bytes b) { return _mm512_mulhrs_epi16(a, b); }  // (a * b + 2^14) >> 15
inline Bytes InterleaveLower(Bytes a, Bytes b) { return _mm512_unpacklo_epi8(a, b); }
inline Bytes InterleaveUpper(Bytes a, Bytes b) { return _mm512_unpackhi_epi8(a, b); }
inline Bytes NarrowSigned(Bytes lower, Bytes upper) { return _mm512_packs_epi16(lower, upper); }
inline Ints AndInts(Ints ints, int32_t mask) { return _mm512_and_si512(ints, _mm512_set1_epi32(mask)); }
template <int kBits>
inline Ints ShiftIntsLeft(Ints ints) {
  return _mm512_slli_epi32(ints, kBits);
}
inline Floats FloatsOfBits(Ints bits) { return _mm512_castsi512_ps(bits); }
#endif

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
