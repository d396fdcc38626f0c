// The sums of the integer tile, and how they are stored; how x is. Included by int8_vec_avx512.h only.
#pragma once

#include "kernels/cpu/vec.h"
#include "kernels/packed.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr int kParts = 1;       // registers that a panel's sixteen rows take
constexpr int kRegisters = 32;  // there are
using Floats = __m512;
struct Sums {  // one panel's outputs of a row of x
  Floats part[kParts];
};
using LaneMask = __mmask16;

inline LaneMask MaskOf(int64_t valid) { return static_cast<LaneMask>((1U << valid) - 1); }
inline void ClearSums(Sums& sums) { sums.part[0] = _mm512_setzero_ps(); }
#if defined(CAUSEWAY_EMULATE_AVX512)
// SIMDe lacks the masked forms: the mask's set bits are the first lanes.
inline void AddBias(const float* p, LaneMask mask, Sums& sums) {
  float values[kLanes] = {};
  std::memcpy(values, p, static_cast<size_t>(__builtin_popcount(mask)) * sizeof(float));
  sums.part[0] = Add(sums.part[0], Load(values));
}
inline void StoreSums(float* p, LaneMask mask, const Sums& sums) {
  float values[kLanes];
  Store(values, sums.part[0]);
  std::memcpy(p, values, static_cast<size_t>(__builtin_popcount(mask)) * sizeof(float));
}
inline void StreamSums(float* p, const Sums& sums) { Store(p, sums.part[0]); }
inline void EndStreaming() {}
inline void StoreCodes(int8_t* p, Vec rounded) {
  float values[kLanes];
  Store(values, rounded);
  for (int i = 0; i < kLanes; ++i) {
    p[i] = static_cast<int8_t>(values[i]);
  }
}
#else
inline void AddBias(const float* p, LaneMask mask, Sums& sums) {
  sums.part[0] = Add(sums.part[0], _mm512_maskz_loadu_ps(mask, p));
}
// Masked stores are slow, and most panels are whole.
inline void StoreSums(float* p, LaneMask mask, const Sums& sums) {
  if (mask == 0xffff) {
    _mm512_storeu_ps(p, sums.part[0]);
  } else {
    _mm512_mask_storeu_ps(p, mask, sums.part[0]);
  }
}
// A whole panel's outputs past the caches, to a multiple of 64 bytes. Others may read them after EndStreaming.
inline void StreamSums(float* p, const Sums& sums) { _mm512_stream_ps(p, sums.part[0]); }
inline void EndStreaming() { _mm_sfence(); }
// kLanes values, already whole numbers in [-127, 127].
inline void StoreCodes(int8_t* p, Vec rounded) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(ToInt(rounded)));
}
#endif

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
