// AVX-512 F, BW, DQ, VL: sixteen lanes. Included by vec.h only.
#pragma once

#if defined(CAUSEWAY_EMULATE_AVX512)
// Tests on machines without AVX-512 compile these files on SIMDe: the same source, its intrinsics spelt in
// portable code. That proves the logic and the bits, not the instructions.
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>
#else
#include <immintrin.h>
#endif

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

using Vec = __m512;
constexpr int kLanes = 16;

// Conversions, apart because SIMDe has no AVX-512 form of them: emulated, they are two AVX2 halves.
#if defined(CAUSEWAY_EMULATE_AVX512)
inline __m512i ToInt(Vec v) {
  alignas(64) float values[kLanes];
  alignas(64) int32_t whole[kLanes];
  _mm512_storeu_ps(values, v);
  for (int half = 0; half < kLanes; half += 8) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(whole + half), _mm256_cvtps_epi32(_mm256_loadu_ps(values + half)));
  }
  return _mm512_loadu_si512(whole);
}
inline Vec LoadBF16(const std::byte* p) {
  alignas(64) uint32_t bits[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    uint16_t half;
    std::memcpy(&half, p + 2 * i, sizeof(half));
    bits[i] = static_cast<uint32_t>(half) << 16;
  }
  return _mm512_castsi512_ps(_mm512_loadu_si512(bits));
}
inline Vec LoadF16(const std::byte* p) {
  alignas(64) float values[kLanes];
  for (int half = 0; half < kLanes; half += 8) {
    _mm256_storeu_ps(values + half, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 2 * half))));
  }
  return _mm512_loadu_ps(values);
}
inline void StoreF16(std::byte* p, Vec v) {
  alignas(64) float values[kLanes];
  _mm512_storeu_ps(values, v);
  for (int half = 0; half < kLanes; half += 8) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 2 * half),
                     _mm256_cvtps_ph(_mm256_loadu_ps(values + half), _MM_FROUND_TO_NEAREST_INT));
  }
}
// Two lanes of 128 bits of each: those of a, then those of b, as two bits a lane say.
template <int kLane>
inline Vec ShuffleQuarters(Vec a, Vec b) {
  float values[2 * kLanes];
  float shuffled[kLanes];
  _mm512_storeu_ps(values, a);
  _mm512_storeu_ps(values + kLanes, b);
  for (int i = 0; i < 4; ++i) {
    std::memcpy(shuffled + 4 * i, values + (i < 2 ? 0 : kLanes) + 4 * ((kLane >> (2 * i)) & 3), 4 * sizeof(float));
  }
  return _mm512_loadu_ps(shuffled);
}
#else
template <int kLane>
inline Vec ShuffleQuarters(Vec a, Vec b) {
  return _mm512_shuffle_f32x4(a, b, kLane);
}
inline __m512i ToInt(Vec v) { return _mm512_cvtps_epi32(v); }
inline Vec LoadBF16(const std::byte* p) {
  const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}
inline Vec LoadF16(const std::byte* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline void StoreF16(std::byte* p, Vec v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
#endif

inline Vec Load(const float* p) { return _mm512_loadu_ps(p); }
inline void Store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
inline Vec Set1(float x) { return _mm512_set1_ps(x); }
inline Vec Zero() { return _mm512_setzero_ps(); }
inline Vec Add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
inline Vec Sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
inline Vec Mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
inline Vec Div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
inline Vec Max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
inline Vec Min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
// a * b + c, rounded once.
inline Vec Fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
inline Vec RoundNearest(Vec a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
// a < b ? x : y
inline Vec SelectLess(Vec a, Vec b, Vec x, Vec y) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
}
// v * 2^n for whole n in [-126, 127].
inline Vec ScaleByPowerOfTwo(Vec v, Vec n) {
  const __m512i exponent = _mm512_slli_epi32(ToInt(n), 23);
  const __m512i one = _mm512_set1_epi32(127 << 23);
  return _mm512_mul_ps(v, _mm512_castsi512_ps(_mm512_add_epi32(exponent, one)));
}

// The even-numbered and the odd-numbered ones of 2 * kLanes BF16 values: one cheap operation each.
inline Vec LoadBF16Even(const std::byte* p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16));
}
inline Vec LoadBF16Odd(const std::byte* p) {
  const __m512i mask = _mm512_set1_epi32(static_cast<int>(0xffff0000U));
  return _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(p), mask));
}
// The same split of 2 * kLanes float32 values.
inline void Deinterleave(const float* p, Vec& even, Vec& odd) {
  const __m512i evens = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
  const __m512i odds = _mm512_set_epi32(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
  even = _mm512_permutex2var_ps(Load(p), evens, Load(p + kLanes));
  odd = _mm512_permutex2var_ps(Load(p), odds, Load(p + kLanes));
}

#if defined(CAUSEWAY_ISA_AVX512_BF16)
using VecBF16 = __m512i;  // 2 * kLanes values
inline VecBF16 LoadVecBF16(const std::byte* p) { return _mm512_loadu_si512(p); }
inline void StoreVecBF16(std::byte* p, VecBF16 v) { _mm512_storeu_si512(p, v); }
// acc[i] + x[2i] * w[2i] + x[2i + 1] * w[2i + 1], rounded as the instruction rounds.
#if defined(CAUSEWAY_EMULATE_AVX512)
inline Vec DotBF16(Vec acc, VecBF16 x, VecBF16 w) {
  const __m512i mask = _mm512_set1_epi32(static_cast<int>(0xffff0000U));
  const auto odd = [&](__m512i v) { return _mm512_castsi512_ps(_mm512_and_si512(v, mask)); };
  const auto even = [](__m512i v) { return _mm512_castsi512_ps(_mm512_slli_epi32(v, 16)); };
  return _mm512_fmadd_ps(even(x), even(w), _mm512_fmadd_ps(odd(x), odd(w), acc));
}
// To nearest even; NaN stays NaN. The values of `low`, then those of `high`.
inline VecBF16 RoundToBF16(Vec low, Vec high) {
  alignas(64) uint32_t bits[2 * kLanes];
  alignas(64) uint16_t rounded[2 * kLanes];
  _mm512_storeu_ps(reinterpret_cast<float*>(bits), low);
  _mm512_storeu_ps(reinterpret_cast<float*>(bits + kLanes), high);
  for (int i = 0; i < 2 * kLanes; ++i) {
    const bool is_nan = (bits[i] & 0x7fffffff) > 0x7f800000;
    rounded[i] = static_cast<uint16_t>((is_nan ? bits[i] | 0x400000 : bits[i] + 0x7fff + ((bits[i] >> 16) & 1)) >> 16);
  }
  return _mm512_loadu_si512(rounded);
}
#else
inline Vec DotBF16(Vec acc, VecBF16 x, VecBF16 w) {
  return _mm512_dpbf16_ps(acc, reinterpret_cast<__m512bh>(x), reinterpret_cast<__m512bh>(w));
}
// To nearest even; NaN stays NaN. The values of `low`, then those of `high`.
inline VecBF16 RoundToBF16(Vec low, Vec high) { return reinterpret_cast<VecBF16>(_mm512_cvtne2ps_pbh(high, low)); }
#endif
#endif

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
