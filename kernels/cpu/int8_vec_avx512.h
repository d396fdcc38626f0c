// The vector operations of int8_tile_avx512.h, and their spelling on SIMDe, which lacks VNNI and masked forms.
#pragma once

#include "kernels/cpu/vec.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

using Sums = __m512;                      // one panel's outputs of a row of x
constexpr int64_t kAheadInStream = 3072;  // bytes of its own panel that a tile asks for beforehand
using LaneMask = __mmask16;

inline LaneMask MaskOf(int64_t valid) { return static_cast<LaneMask>((1U << valid) - 1); }
inline void ClearSums(Sums& sums) { sums = _mm512_setzero_ps(); }
#if defined(CAUSEWAY_EMULATE_AVX512)
// SIMDe lacks the masked forms: the mask's set bits are the first lanes.
inline void AddBias(const float* p, LaneMask mask, Sums& sums) {
  float values[kLanes] = {};
  std::memcpy(values, p, static_cast<size_t>(__builtin_popcount(mask)) * sizeof(float));
  sums = Add(sums, Load(values));
}
inline void StoreSums(float* p, LaneMask mask, const Sums& sums) {
  float values[kLanes];
  Store(values, sums);
  std::memcpy(p, values, static_cast<size_t>(__builtin_popcount(mask)) * sizeof(float));
}
#else
inline void AddBias(const float* p, LaneMask mask, Sums& sums) { sums = Add(sums, _mm512_maskz_loadu_ps(mask, p)); }
// Masked stores are slow, and most panels are whole.
inline void StoreSums(float* p, LaneMask mask, const Sums& sums) {
  if (mask == 0xffff) {
    _mm512_storeu_ps(p, sums);
  } else {
    _mm512_mask_storeu_ps(p, mask, sums);
  }
}
#endif

inline __m512i LoadBytes(const std::byte* p) { return _mm512_loadu_si512(p); }
inline __m512i BroadcastFour(const int8_t* p) {
  int32_t four;
  std::memcpy(&four, p, sizeof(four));
  return _mm512_set1_epi32(four);
}
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
inline __m512i PairSums(const int16_t* pair) { return _mm512_set1_epi32(pair[0] + pair[1]); }
inline __m512i MultiplySmall(__m512i lanes, __m512i by) {
  alignas(64) int32_t products[16];
  alignas(64) int32_t factors[16];
  _mm512_storeu_si512(products, lanes);
  _mm512_storeu_si512(factors, by);
  for (int i = 0; i < 16; ++i) {
    products[i] *= factors[i];
  }
  return _mm512_loadu_si512(products);
}
inline __m512i SixteenSignedBytes(const std::byte* p) {
  alignas(64) int32_t lanes[16];
  for (int i = 0; i < 16; ++i) {
    lanes[i] = static_cast<int8_t>(p[i]);
  }
  return _mm512_loadu_si512(lanes);
}
inline __m512i SixteenBytes(const std::byte* p) {
  alignas(64) int32_t lanes[16];
  for (int i = 0; i < 16; ++i) {
    lanes[i] = static_cast<int32_t>(p[i]);
  }
  return _mm512_loadu_si512(lanes);
}
inline Vec ToFloats(__m512i whole) {
  alignas(64) int32_t from[kLanes];
  float values[kLanes];
  _mm512_storeu_si512(from, whole);
  for (int i = 0; i < kLanes; ++i) {
    values[i] = static_cast<float>(from[i]);
  }
  return Load(values);
}
inline void StoreCodes(int8_t* p, Vec rounded) {
  float values[kLanes];
  Store(values, rounded);
  for (int i = 0; i < kLanes; ++i) {
    p[i] = static_cast<int8_t>(values[i]);
  }
}
#else
// As unsigned numbers.
inline __m512i SixteenBytes(const std::byte* p) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline __m512i SixteenSignedBytes(const std::byte* p) {
  return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
// The sum of two, in all lanes.
inline __m512i PairSums(const int16_t* pair) {
  int32_t both;
  std::memcpy(&both, pair, sizeof(both));
  return _mm512_madd_epi16(_mm512_set1_epi32(both), _mm512_set1_epi16(1));
}
// Lanes in [0, 255] times lanes that 16 bits hold.
inline __m512i MultiplySmall(__m512i lanes, __m512i by) { return _mm512_madd_epi16(lanes, by); }
inline Vec ToFloats(__m512i whole) { return _mm512_cvtepi32_ps(whole); }
// kLanes values, already whole numbers in [-127, 127].
inline void StoreCodes(int8_t* p, Vec rounded) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(ToInt(rounded)));
}
inline __m512i DotBytes(__m512i acc, __m512i u, __m512i s) { return _mm512_dpbusd_epi32(acc, u, s); }
#endif

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
