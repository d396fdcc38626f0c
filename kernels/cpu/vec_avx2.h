// AVX2 + FMA + F16C: eight lanes. Included by vec.h only.
#pragma once

#include <immintrin.h>

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

using Vec = __m256;
constexpr int kLanes = 8;

inline Vec Load(const float* p) { return _mm256_loadu_ps(p); }
inline void Store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
inline Vec Set1(float x) { return _mm256_set1_ps(x); }
inline Vec Zero() { return _mm256_setzero_ps(); }
inline Vec Add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
inline Vec Sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
inline Vec Mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
inline Vec Div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
inline Vec Max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
inline Vec Min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
// a * b + c, rounded once.
inline Vec Fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
inline Vec RoundNearest(Vec a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
// a < b ? x : y
inline Vec SelectLess(Vec a, Vec b, Vec x, Vec y) { return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ)); }
// v * 2^n for whole n in [-126, 127].
inline Vec ScaleByPowerOfTwo(Vec v, Vec n) {
  const __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
  const __m256i one = _mm256_set1_epi32(127 << 23);
  return _mm256_mul_ps(v, _mm256_castsi256_ps(_mm256_add_epi32(exponent, one)));
}

inline float ReduceAdd(Vec v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
inline float ReduceMax(Vec v) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

// Four reductions at once, by the same tree as ReduceAdd: bit-equal to four calls of it.
inline void ReduceAdd4(const Vec v[4], float sums[4]) {
  __m128 h[4];
  for (int i = 0; i < 4; ++i) {
    h[i] = _mm_add_ps(_mm256_castps256_ps128(v[i]), _mm256_extractf128_ps(v[i], 1));
  }
  const __m128 t0 = _mm_add_ps(_mm_movelh_ps(h[0], h[1]), _mm_movehl_ps(h[1], h[0]));
  const __m128 t1 = _mm_add_ps(_mm_movelh_ps(h[2], h[3]), _mm_movehl_ps(h[3], h[2]));
  const __m128 even = _mm_shuffle_ps(t0, t1, _MM_SHUFFLE(2, 0, 2, 0));
  const __m128 odd = _mm_shuffle_ps(t0, t1, _MM_SHUFFLE(3, 1, 3, 1));
  _mm_storeu_ps(sums, _mm_add_ps(even, odd));
}

// Four reductions at once: maxima[i] = ReduceMax(v[i]).
inline void ReduceMax4(const Vec v[4], float maxima[4]) {
  __m128 h[4];
  for (int i = 0; i < 4; ++i) {
    h[i] = _mm_max_ps(_mm256_castps256_ps128(v[i]), _mm256_extractf128_ps(v[i], 1));
  }
  const __m128 t0 = _mm_max_ps(_mm_unpacklo_ps(h[0], h[1]), _mm_unpackhi_ps(h[0], h[1]));
  const __m128 t1 = _mm_max_ps(_mm_unpacklo_ps(h[2], h[3]), _mm_unpackhi_ps(h[2], h[3]));
  _mm_storeu_ps(maxima, _mm_max_ps(_mm_movelh_ps(t0, t1), _mm_movehl_ps(t1, t0)));
}

// sums[4 * n + m] = ReduceAdd(v[n][m])
inline void ReduceAdd4Columns(const Vec (&v)[3][4], float* sums) {
  for (int n = 0; n < 3; ++n) {
    ReduceAdd4(v[n], sums + 4 * n);
  }
}

inline Vec LoadF16(const std::byte* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline Vec LoadBF16(const std::byte* p) {
  const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}
// The even-numbered and the odd-numbered ones of 2 * kLanes BF16 values: one cheap operation each.
inline Vec LoadBF16Even(const std::byte* p) {
  const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(v, 16));
}
inline Vec LoadBF16Odd(const std::byte* p) {
  const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm256_castsi256_ps(_mm256_and_si256(v, _mm256_set1_epi32(static_cast<int>(0xffff0000U))));
}
// The same split of 2 * kLanes float32 values.
inline void Deinterleave(const float* p, Vec& even, Vec& odd) {
  const Vec a = Load(p);
  const Vec b = Load(p + kLanes);
  const Vec e = _mm256_shuffle_ps(a, b, _MM_SHUFFLE(2, 0, 2, 0));  // 64-bit pieces: a0 b0 a1 b1
  const Vec o = _mm256_shuffle_ps(a, b, _MM_SHUFFLE(3, 1, 3, 1));
  even = _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(e), _MM_SHUFFLE(3, 1, 2, 0)));
  odd = _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(o), _MM_SHUFFLE(3, 1, 2, 0)));
}
inline void StoreF16(std::byte* p, Vec v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
