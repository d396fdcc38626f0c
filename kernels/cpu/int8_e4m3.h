// Small floats as integers and as scales. What a vector of e4m3 codes stands for, 32 times, is (mantissa * 2048 * power
// + 16384) >> 15 (kernels/packed_numbers.h), which one instruction computes for pairs of bytes. Included by
// int8_codes_*.h only.
#pragma once

#include "kernels/cpu/vec.h"
#include "kernels/packed.h"
#include "kernels/quant/group_blocks.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

// By the exponent: the mantissa's leading bit, eight times, and the bytes of the power.
struct E4M3Tables {
  int8_t leading[16];
  int8_t power_low[16];
  int8_t power_high[16];
};
constexpr E4M3Tables MakeE4M3Tables() {
  E4M3Tables tables{};
  for (int exponent = 0; exponent < 16; ++exponent) {
    const int power = exponent == 0 ? 1 : 1 << (exponent - 1);
    tables.leading[exponent] = exponent == 0 ? 0 : 64;
    tables.power_low[exponent] = static_cast<int8_t>(power & 0xff);
    tables.power_high[exponent] = static_cast<int8_t>(power >> 8);
  }
  return tables;
}
inline constexpr E4M3Tables kE4M3Tables = MakeE4M3Tables();

#if !defined(CAUSEWAY_ISA_AVX512_VNNI)

inline __m256i InAllLanes(const int8_t (&bytes)[16]) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
}
// Pairs of bytes, of the lower or the upper halves of both lanes: the number.
inline __m256i E4M3Numbers(__m256i mantissas, __m256i powers, __m256i signs) {
  const __m256i minus = _mm256_srai_epi16(signs, 15);
  return _mm256_sub_epi16(_mm256_xor_si256(_mm256_mulhrs_epi16(mantissas, powers), minus), minus);
}
// Codes to halves of their numbers: number >> 7, signed, and the seven bits below.
CAUSEWAY_INLINE void SplitE4M3(__m256i codes, __m256i& high, __m256i& low) {
  const __m256i exponents = _mm256_and_si256(_mm256_srli_epi16(codes, 3), _mm256_set1_epi8(0xf));
  const __m256i fraction = _mm256_and_si256(_mm256_slli_epi16(codes, 3), _mm256_set1_epi8(0x38));
  const __m256i mantissas = _mm256_or_si256(fraction, _mm256_shuffle_epi8(InAllLanes(kE4M3Tables.leading), exponents));
  const __m256i power_low = _mm256_shuffle_epi8(InAllLanes(kE4M3Tables.power_low), exponents);
  const __m256i power_high = _mm256_shuffle_epi8(InAllLanes(kE4M3Tables.power_high), exponents);
  const __m256i zero = _mm256_setzero_si256();
  const __m256i first = E4M3Numbers(_mm256_unpacklo_epi8(zero, mantissas), _mm256_unpacklo_epi8(power_low, power_high),
                                    _mm256_unpacklo_epi8(zero, codes));
  const __m256i second = E4M3Numbers(_mm256_unpackhi_epi8(zero, mantissas), _mm256_unpackhi_epi8(power_low, power_high),
                                     _mm256_unpackhi_epi8(zero, codes));
  const __m256i seven = _mm256_set1_epi16(127);
  high = _mm256_packs_epi16(_mm256_srai_epi16(first, 7), _mm256_srai_epi16(second, 7));
  low = _mm256_packus_epi16(_mm256_and_si256(first, seven), _mm256_and_si256(second, seven));
}
// Eight e4m3 bytes as floats, but for NaN: the bits, moved to where a float has them, are 2^-120 times the number.
inline __m256 EightE4M3(const std::byte* p) {
  const __m256i bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  const __m256i sign = _mm256_slli_epi32(_mm256_and_si256(bytes, _mm256_set1_epi32(0x80)), 24);
  const __m256i magnitude = _mm256_slli_epi32(_mm256_and_si256(bytes, _mm256_set1_epi32(0x7f)), 20);
  return _mm256_mul_ps(_mm256_castsi256_ps(_mm256_or_si256(sign, magnitude)), _mm256_set1_ps(0x1p120F));
}

#elif defined(CAUSEWAY_EMULATE_AVX512)

// SIMDe lacks what the real ones need.
inline void SplitE4M3(__m512i codes, __m512i& high, __m512i& low) {
  alignas(64) uint8_t bytes[64];
  alignas(64) uint8_t highs[64];
  alignas(64) uint8_t lows[64];
  _mm512_storeu_si512(bytes, codes);
  for (int i = 0; i < 64; ++i) {
    const int number = E4M3Number(bytes[i]);
    highs[i] = static_cast<uint8_t>((number >> 7) + 128);
    lows[i] = static_cast<uint8_t>(number & 127);
  }
  high = _mm512_loadu_si512(highs);
  low = _mm512_loadu_si512(lows);
}
inline Vec SixteenE4M3(const std::byte* p) {
  float values[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    values[i] = E4M3ToFloat(static_cast<uint8_t>(p[i]));
  }
  return Load(values);
}

#else

inline __m512i InAllLanes(const int8_t (&bytes)[16]) {
  return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
}
// Pairs of bytes, of the lower or the upper halves of all lanes: the number.
inline __m512i E4M3Numbers(__m512i mantissas, __m512i powers, __m512i signs) {
  const __m512i minus = _mm512_srai_epi16(signs, 15);
  return _mm512_sub_epi16(_mm512_xor_si512(_mm512_mulhrs_epi16(mantissas, powers), minus), minus);
}
// Codes to halves of their numbers: (number >> 7) + 128, and the seven bits below.
CAUSEWAY_INLINE void SplitE4M3(__m512i codes, __m512i& high, __m512i& low) {
  const __m512i exponents = _mm512_and_si512(_mm512_srli_epi16(codes, 3), _mm512_set1_epi8(0xf));
  const __m512i fraction = _mm512_and_si512(_mm512_slli_epi16(codes, 3), _mm512_set1_epi8(0x38));
  const __m512i mantissas = _mm512_or_si512(fraction, _mm512_shuffle_epi8(InAllLanes(kE4M3Tables.leading), exponents));
  const __m512i power_low = _mm512_shuffle_epi8(InAllLanes(kE4M3Tables.power_low), exponents);
  const __m512i power_high = _mm512_shuffle_epi8(InAllLanes(kE4M3Tables.power_high), exponents);
  const __m512i zero = _mm512_setzero_si512();
  const __m512i first = E4M3Numbers(_mm512_unpacklo_epi8(zero, mantissas), _mm512_unpacklo_epi8(power_low, power_high),
                                    _mm512_unpacklo_epi8(zero, codes));
  const __m512i second = E4M3Numbers(_mm512_unpackhi_epi8(zero, mantissas), _mm512_unpackhi_epi8(power_low, power_high),
                                     _mm512_unpackhi_epi8(zero, codes));
  const __m512i seven = _mm512_set1_epi16(127);
  high = _mm512_xor_si512(_mm512_packs_epi16(_mm512_srai_epi16(first, 7), _mm512_srai_epi16(second, 7)),
                          _mm512_set1_epi8(static_cast<char>(0x80)));
  low = _mm512_packus_epi16(_mm512_and_si512(first, seven), _mm512_and_si512(second, seven));
}
// Sixteen e4m3 bytes as floats, but for NaN: the bits, moved to where a float has them, are 2^-120 times the number.
inline Vec SixteenE4M3(const std::byte* p) {
  const __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  const __m512i sign = _mm512_slli_epi32(_mm512_and_si512(bytes, _mm512_set1_epi32(0x80)), 24);
  const __m512i magnitude = _mm512_slli_epi32(_mm512_and_si512(bytes, _mm512_set1_epi32(0x7f)), 20);
  return _mm512_mul_ps(_mm512_castsi512_ps(_mm512_or_si512(sign, magnitude)), _mm512_set1_ps(0x1p120F));
}

#endif

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
