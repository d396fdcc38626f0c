// The vector operations of int8_tile_avx2.h. Included by it only.
#pragma once

#include "kernels/cpu/vec.h"
#include "kernels/packed.h"
#include "kernels/quantized_x.h"

#include <immintrin.h>

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

struct Sums {  // one panel's outputs of a row of x
  __m256 half[2];
};
using LaneMask = int64_t;  // how many of a panel's rows there are

inline LaneMask MaskOf(int64_t valid) { return valid; }
inline void ClearSums(Sums& sums) { sums.half[0] = sums.half[1] = _mm256_setzero_ps(); }
inline void AddBias(const float* p, LaneMask valid, Sums& sums) {
  alignas(32) float values[kPanelRows] = {};
  std::memcpy(values, p, static_cast<size_t>(valid) * sizeof(float));
  sums.half[0] = _mm256_add_ps(sums.half[0], _mm256_load_ps(values));
  sums.half[1] = _mm256_add_ps(sums.half[1], _mm256_load_ps(values + 8));
}
inline void StoreSums(float* p, LaneMask valid, const Sums& sums) {
  alignas(32) float values[kPanelRows];
  float* const to = valid < kPanelRows ? values : p;
  _mm256_storeu_ps(to, sums.half[0]);
  _mm256_storeu_ps(to + 8, sums.half[1]);
  if (valid < kPanelRows) {
    std::memcpy(p, values, static_cast<size_t>(valid) * sizeof(float));
  }
}
// A whole panel's outputs past the caches, to a multiple of 64 bytes. Others may read them after EndStreaming.
inline void StreamSums(float* p, const Sums& sums) {
  _mm256_stream_ps(p, sums.half[0]);
  _mm256_stream_ps(p + 8, sums.half[1]);
}
inline void EndStreaming() { _mm_sfence(); }
// kLanes values, already whole numbers in [-127, 127].
#if defined(CAUSEWAY_EMULATE_AVX512)
inline void StoreCodes(int8_t* p, Vec rounded) {
  float values[kLanes];
  Store(values, rounded);
  for (int i = 0; i < kLanes; ++i) {
    p[i] = static_cast<int8_t>(values[i]);
  }
}
#elif defined(CAUSEWAY_ISA_AVX512)
inline void StoreCodes(int8_t* p, Vec rounded) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(rounded)));
}
#else
inline void StoreCodes(int8_t* p, Vec rounded) {
  const __m256i whole = _mm256_cvtps_epi32(rounded);
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
}
#endif

inline __m256i LoadHalf(const std::byte* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline __m256i BroadcastFour(const std::byte* p) {
  int32_t four;
  std::memcpy(&four, p, sizeof(four));
  return _mm256_set1_epi32(four);
}
// A group's sums of x, whole and of the second half, as pairs of 16 bits in all lanes.
inline __m256i MinusSums(const XGroup& group) {
  int32_t both;
  std::memcpy(&both, &group.minus_sum, sizeof(both));
  return _mm256_set1_epi32(both);
}
inline __m256 HalfFloats(const std::byte* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline __m256i EightBytes(const std::byte* p) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
inline __m256 SignedFloats(const std::byte* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}

inline __m256i And(__m256i bytes, int mask) {
  return _mm256_and_si256(bytes, _mm256_set1_epi8(static_cast<char>(mask)));
}
inline __m256i FlipSigns(__m256i bytes) { return _mm256_xor_si256(bytes, _mm256_set1_epi8(static_cast<char>(0x80))); }
inline __m256i WidenPairs(__m256i pairs) { return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)); }
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

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
