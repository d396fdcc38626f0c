// The sums of the integer tile, and how they are stored; how x is. Included by int8_vec_avx2.h only.
#pragma once

#include "kernels/cpu/vec.h"
#include "kernels/packed.h"

#include <immintrin.h>

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr int kParts = 2;       // registers that a panel's sixteen rows take
constexpr int kRegisters = 16;  // there are
using Floats = __m256;
struct Sums {  // one panel's outputs of a row of x
  Floats part[kParts];
};
using LaneMask = int64_t;  // how many of a panel's rows there are

inline LaneMask MaskOf(int64_t valid) { return valid; }
inline void ClearSums(Sums& sums) { sums.part[0] = sums.part[1] = _mm256_setzero_ps(); }
inline void AddBias(const float* p, LaneMask valid, Sums& sums) {
  alignas(32) float values[kPanelRows] = {};
  std::memcpy(values, p, static_cast<size_t>(valid) * sizeof(float));
  sums.part[0] = _mm256_add_ps(sums.part[0], _mm256_load_ps(values));
  sums.part[1] = _mm256_add_ps(sums.part[1], _mm256_load_ps(values + 8));
}
inline void StoreSums(float* p, LaneMask valid, const Sums& sums) {
  alignas(32) float values[kPanelRows];
  float* const to = valid < kPanelRows ? values : p;
  _mm256_storeu_ps(to, sums.part[0]);
  _mm256_storeu_ps(to + 8, sums.part[1]);
  if (valid < kPanelRows) {
    std::memcpy(p, values, static_cast<size_t>(valid) * sizeof(float));
  }
}
// A whole panel's outputs past the caches, to a multiple of 64 bytes. Others may read them after EndStreaming.
inline void StreamSums(float* p, const Sums& sums) {
  _mm256_stream_ps(p, sums.part[0]);
  _mm256_stream_ps(p + 8, sums.part[1]);
}
inline void EndStreaming() { _mm_sfence(); }
// kLanes values, already whole numbers in [-127, 127].
inline void StoreCodes(int8_t* p, Vec rounded) {
  const __m256i whole = _mm256_cvtps_epi32(rounded);
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
