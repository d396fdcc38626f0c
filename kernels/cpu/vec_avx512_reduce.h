// Reductions of AVX-512 vectors, one and many at a time by one tree. Included by vec.h only, behind
// vec_avx512.h.
#pragma once

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

inline __m256 FoldHalf(Vec v) {
  const __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1));
  return _mm256_add_ps(_mm512_castps512_ps256(v), high);
}
inline __m128 FoldQuarter(Vec v) {
  const __m256 h = FoldHalf(v);
  return _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
}
inline float ReduceAdd(Vec v) {
  __m128 s = FoldQuarter(v);
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
inline __m128 QuarterMax(Vec v) {
  const __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1));
  const __m256 h = _mm256_max_ps(_mm512_castps512_ps256(v), high);
  return _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
}
inline float ReduceMax(Vec v) {
  __m128 s = QuarterMax(v);
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

// Four reductions at once, by the same tree as ReduceAdd: bit-equal to four calls of it.
inline void ReduceAdd4(const Vec v[4], float sums[4]) {
  __m128 h[4];
  for (int i = 0; i < 4; ++i) {
    h[i] = FoldQuarter(v[i]);
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
    h[i] = QuarterMax(v[i]);
  }
  const __m128 t0 = _mm_max_ps(_mm_unpacklo_ps(h[0], h[1]), _mm_unpackhi_ps(h[0], h[1]));
  const __m128 t1 = _mm_max_ps(_mm_unpacklo_ps(h[2], h[3]), _mm_unpackhi_ps(h[2], h[3]));
  _mm_storeu_ps(maxima, _mm_max_ps(_mm_movelh_ps(t0, t1), _mm_movehl_ps(t1, t0)));
}

// FoldPairN: two vectors of runs of N lanes to one; each run of N / 2 is one of theirs, its halves added as
// ReduceAdd adds them.
inline Vec FoldPair16(Vec a, Vec b) { return _mm512_add_ps(ShuffleQuarters<0x44>(a, b), ShuffleQuarters<0xee>(a, b)); }
inline Vec FoldPair8(Vec a, Vec b) { return _mm512_add_ps(ShuffleQuarters<0x88>(a, b), ShuffleQuarters<0xdd>(a, b)); }
inline Vec FoldPair4(Vec a, Vec b) {
  return _mm512_add_ps(_mm512_shuffle_ps(a, b, _MM_SHUFFLE(1, 0, 1, 0)),
                       _mm512_shuffle_ps(a, b, _MM_SHUFFLE(3, 2, 3, 2)));
}
inline Vec FoldPair2(Vec a, Vec b) {
  return _mm512_add_ps(_mm512_shuffle_ps(a, b, _MM_SHUFFLE(2, 0, 2, 0)),
                       _mm512_shuffle_ps(a, b, _MM_SHUFFLE(3, 1, 3, 1)));
}
// Four vectors to one: 128-bit lane i holds what ReduceAdd makes of the i-th before its last two additions.
inline Vec FoldFour(Vec a, Vec b, Vec c, Vec d) { return FoldPair8(FoldPair16(a, b), FoldPair16(c, d)); }
inline Vec FoldFour(const Vec (&v)[4]) { return FoldFour(v[0], v[1], v[2], v[3]); }

// sums[8 * m + n] = ReduceAdd(v[n][m]), by the same tree: bit-equal to 24 calls of it.
inline void ReduceAdd4Columns(const Vec (&v)[6][4], float* sums) {
  const Vec four = FoldPair2(FoldPair4(FoldFour(v[0]), FoldFour(v[1])), FoldPair4(FoldFour(v[2]), FoldFour(v[3])));
  const Vec two = FoldPair4(FoldFour(v[4]), FoldFour(v[5]));
  const Vec last = FoldPair2(two, two);
  alignas(64) float all[2 * kLanes];
  Store(all, four);
  Store(all + kLanes, last);
  for (int m = 0; m < 4; ++m) {
    std::memcpy(sums + 8 * m, all + 4 * m, 4 * sizeof(float));
    std::memcpy(sums + 8 * m + 4, all + kLanes + 4 * m, 2 * sizeof(float));
  }
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
