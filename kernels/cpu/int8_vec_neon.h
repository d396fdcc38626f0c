// The vector operations of int8_tile_neon.h: a panel's sums, products of bytes, and numbers of four of its rows.
// Included by int8_codes_neon.h only.
#pragma once

#include "kernels/cpu/vec.h"
#include "kernels/packed.h"
#include "kernels/quantized_x.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr int kFours = 4;  // of rows in a panel

inline const uint8_t* Bytes(const std::byte* p) { return reinterpret_cast<const uint8_t*>(p); }
inline uint8x16_t And(uint8x16_t bytes, int mask) { return vandq_u8(bytes, vdupq_n_u8(static_cast<uint8_t>(mask))); }

struct Sums {  // one panel's outputs of a row of x
  float32x4_t four[kFours];
};
using LaneMask = int64_t;  // how many of a panel's rows there are

inline LaneMask MaskOf(int64_t valid) { return valid; }
inline void ClearSums(Sums& sums) {
  CAUSEWAY_UNROLL for (int i = 0; i < kFours; ++i) { sums.four[i] = vdupq_n_f32(0.0F); }
}
inline void AddBias(const float* p, LaneMask valid, Sums& sums) {
  float values[kPanelRows] = {};
  std::memcpy(values, p, static_cast<size_t>(valid) * sizeof(float));
  CAUSEWAY_UNROLL for (int i = 0; i < kFours; ++i) {
    sums.four[i] = vaddq_f32(sums.four[i], vld1q_f32(values + i * 4));
  }
}
inline void StoreSums(float* p, LaneMask valid, const Sums& sums) {
  float values[kPanelRows];
  float* const to = valid < kPanelRows ? values : p;
  CAUSEWAY_UNROLL for (int i = 0; i < kFours; ++i) { vst1q_f32(to + i * 4, sums.four[i]); }
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

// sum + the products of weights with a row's quad of x, four to a lane.
#if defined(CAUSEWAY_ISA_NEON_DOTPROD)
inline int32x4_t DotBytes(int32x4_t sum, int8x16_t weights, int8x16_t four) { return vdotq_s32(sum, weights, four); }
#else
// A pair fits 16 bits: 2 * 128 * 127 < 32768.
inline int32x4_t DotBytes(int32x4_t sum, int8x16_t weights, int8x16_t four) {
  const int16x8_t low = vmull_s8(vget_low_s8(weights), vget_low_s8(four));
  const int16x8_t high = vmull_s8(vget_high_s8(weights), vget_high_s8(four));
  return vpadalq_s16(sum, vpaddq_s16(low, high));
}
#endif
// In its register: else g++ decodes far ahead and stores what it has.
inline void Keep([[maybe_unused]] int32x4_t& sum) {
#if defined(__aarch64__)
  asm volatile("" : "+w"(sum));
#endif
}
inline int8x16_t BroadcastFour(const std::byte* p) {
  int32_t four;
  std::memcpy(&four, p, sizeof(four));
  return vreinterpretq_s8_s32(vdupq_n_s32(four));
}

// Four numbers of a panel's params, from row 4 * `four` on.
inline float32x4_t Floats(const std::byte* p, int64_t four) {
  return vld1q_f32(reinterpret_cast<const float*>(p) + four * 4);
}
inline float32x4_t HalfFloats(const std::byte* p, int64_t four) {
  return FourHalves(vreinterpret_u16_u8(vld1_u8(Bytes(p + four * 8))));
}
inline uint32x4_t FourBytes(const std::byte* p, int64_t four) {
  uint32_t bytes;
  std::memcpy(&bytes, p + four * 4, sizeof(bytes));
  return vmovl_u16(vget_low_u16(vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(bytes)))));
}
inline float32x4_t SignedFloats(const std::byte* p, int64_t four) {
  const int32x4_t upper = vreinterpretq_s32_u32(vshlq_n_u32(FourBytes(p, four), 24));
  return vcvtq_f32_s32(vshrq_n_s32(upper, 24));
}
// But for NaN: the bits, moved to where a float has them, are 2^-120 times the number.
inline float32x4_t FourE4M3(const std::byte* p, int64_t four) {
  const uint32x4_t bytes = FourBytes(p, four);
  const uint32x4_t sign = vshlq_n_u32(vandq_u32(bytes, vdupq_n_u32(0x80)), 24);
  const uint32x4_t magnitude = vshlq_n_u32(vandq_u32(bytes, vdupq_n_u32(0x7f)), 20);
  return vmulq_f32(vreinterpretq_f32_u32(vorrq_u32(sign, magnitude)), vdupq_n_f32(0x1p120F));
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
