// The sums of the integer tile, and how they are stored; how x is. Included by int8_vec_neon.h only.
#pragma once

#include "kernels/cpu/vec.h"
#include "kernels/packed.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr int kParts = 4;       // registers that a panel's sixteen rows take
constexpr int kRegisters = 32;  // there are
using Floats = float32x4_t;
struct Sums {  // one panel's outputs of a row of x
  Floats part[kParts];
};
using LaneMask = int64_t;  // how many of a panel's rows there are

inline LaneMask MaskOf(int64_t valid) { return valid; }
inline void ClearSums(Sums& sums) {
  CAUSEWAY_UNROLL for (int i = 0; i < kParts; ++i) { sums.part[i] = vdupq_n_f32(0.0F); }
}
inline void AddBias(const float* p, LaneMask valid, Sums& sums) {
  float values[kPanelRows] = {};
  std::memcpy(values, p, static_cast<size_t>(valid) * sizeof(float));
  CAUSEWAY_UNROLL for (int i = 0; i < kParts; ++i) {
    sums.part[i] = vaddq_f32(sums.part[i], vld1q_f32(values + i * 4));
  }
}
inline void StoreSums(float* p, LaneMask valid, const Sums& sums) {
  float values[kPanelRows];
  float* const to = valid < kPanelRows ? values : p;
  CAUSEWAY_UNROLL for (int i = 0; i < kParts; ++i) { vst1q_f32(to + i * 4, sums.part[i]); }
  if (valid < kPanelRows) {
    std::memcpy(p, values, static_cast<size_t>(valid) * sizeof(float));
  }
}
// Long runs of stores go past the caches on their own.
inline void StreamSums(float* p, const Sums& sums) { StoreSums(p, kPanelRows, sums); }
inline void EndStreaming() {}
// kLanes values, already whole numbers in [-127, 127].
inline void StoreCodes(int8_t* p, Vec rounded) {
  const int16x4_t low = vmovn_s32(vcvtq_s32_f32(rounded.low));
  const int16x4_t high = vmovn_s32(vcvtq_s32_f32(rounded.high));
  vst1_s8(p, vmovn_s16(vcombine_s16(low, high)));
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
