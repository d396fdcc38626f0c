// The vector operations of int8_tile_avx512.h, and their spelling on SIMDe, which lacks VNNI and masked forms.
#pragma once

#include "kernels/cpu/vec.h"
#include "kernels/quantized_x.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

using Sums = __m512;  // one panel's outputs of a row of x
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
inline void StreamSums(float* p, const Sums& sums) { Store(p, sums); }
inline void EndStreaming() {}
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
// A whole panel's outputs past the caches, to a multiple of 64 bytes. Others may read them after EndStreaming.
inline void StreamSums(float* p, const Sums& sums) { _mm512_stream_ps(p, sums); }
inline void EndStreaming() { _mm_sfence(); }
#endif

inline __m512i LoadBytes(const std::byte* p) { return _mm512_loadu_si512(p); }
inline __m512i BroadcastFour(const std::byte* p) {
  int32_t four;
  std::memcpy(&four, p, sizeof(four));
  return _mm512_set1_epi32(four);
}
// A group's sums of x, whole and of the second half, as pairs of 16 bits in all lanes.
inline __m512i MinusSums(const XGroup& group) {
  int32_t both;
  std::memcpy(&both, &group.minus_sum, sizeof(both));
  return _mm512_set1_epi32(both);
}
inline __m512i And(__m512i bytes, int mask) {
  return _mm512_and_si512(bytes, _mm512_set1_epi8(static_cast<char>(mask)));
}
// codes | (bits & mask)
inline __m512i OrAnd(__m512i codes, __m512i bits, int mask) { return _mm512_or_si512(codes, And(bits, mask)); }
// Codes below 16 to the table's bytes.
inline __m512i LookUp(const int8_t (&table)[16], __m512i codes) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
  return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(bytes), codes);
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
// Pairs of 16 bits: the sum of both products, a lane of 32.
inline __m512i MultiplyPairs(__m512i a, __m512i b) { return _mm512_madd_epi16(a, b); }
inline Vec ToFloats(__m512i whole) { return _mm512_cvtepi32_ps(whole); }
// kLanes values, already whole numbers in [-127, 127].
inline void StoreCodes(int8_t* p, Vec rounded) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(ToInt(rounded)));
}
inline __m512i DotBytes(__m512i acc, __m512i u, __m512i s) { return _mm512_dpbusd_epi32(acc, u, s); }
#endif

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
