// NEON of 64-bit ARM: eight lanes in two registers, so that a tile of 4 x 3 accumulators, three weights and one x fill
// all 32. Included by vec.h only.
#pragma once

#if defined(CAUSEWAY_EMULATE_NEON)
// Tests on other machines compile these files on SIMDe: the same source, its intrinsics spelt in portable code. That
// proves the logic and the bits, not the instructions.
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/arm/neon.h>

#include "kernels/quant/float16.h"
#else
#include <arm_neon.h>
#endif

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

struct Vec {
  float32x4_t low;
  float32x4_t high;
};
constexpr int kLanes = 8;

inline Vec Load(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4)}; }
inline void Store(float* p, Vec v) {
  vst1q_f32(p, v.low);
  vst1q_f32(p + 4, v.high);
}
inline Vec Set1(float x) { return {vdupq_n_f32(x), vdupq_n_f32(x)}; }
inline Vec Zero() { return Set1(0.0F); }
inline Vec Add(Vec a, Vec b) { return {vaddq_f32(a.low, b.low), vaddq_f32(a.high, b.high)}; }
inline Vec Sub(Vec a, Vec b) { return {vsubq_f32(a.low, b.low), vsubq_f32(a.high, b.high)}; }
inline Vec Mul(Vec a, Vec b) { return {vmulq_f32(a.low, b.low), vmulq_f32(a.high, b.high)}; }
// The operator is vdivq_f32, a name that SIMDe does not know.
inline Vec Div(Vec a, Vec b) { return {a.low / b.low, a.high / b.high}; }

// b where either is NaN, as on x86: vmaxq_f32 would give NaN.
inline float32x4_t LargerOf(float32x4_t a, float32x4_t b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
inline float32x4_t SmallerOf(float32x4_t a, float32x4_t b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
inline Vec Max(Vec a, Vec b) { return {LargerOf(a.low, b.low), LargerOf(a.high, b.high)}; }
inline Vec Min(Vec a, Vec b) { return {SmallerOf(a.low, b.low), SmallerOf(a.high, b.high)}; }
// a * b + c, rounded once.
inline Vec Fma(Vec a, Vec b, Vec c) { return {vfmaq_f32(c.low, a.low, b.low), vfmaq_f32(c.high, a.high, b.high)}; }
inline Vec RoundNearest(Vec a) { return {vrndnq_f32(a.low), vrndnq_f32(a.high)}; }
// a < b ? x : y
inline Vec SelectLess(Vec a, Vec b, Vec x, Vec y) {
  return {vbslq_f32(vcltq_f32(a.low, b.low), x.low, y.low), vbslq_f32(vcltq_f32(a.high, b.high), x.high, y.high)};
}
// v * 2^n for whole n in [-126, 127].
inline float32x4_t ScaleFour(float32x4_t v, float32x4_t n) {
  const int32x4_t exponent = vshlq_n_s32(vcvtq_s32_f32(n), 23);
  return vmulq_f32(v, vreinterpretq_f32_s32(vaddq_s32(exponent, vdupq_n_s32(127 << 23))));
}
inline Vec ScaleByPowerOfTwo(Vec v, Vec n) { return {ScaleFour(v.low, n.low), ScaleFour(v.high, n.high)}; }

// The tree's first two levels: lanes 0 and 2, 1 and 3 of the sum of both registers.
inline float32x2_t FoldToTwo(Vec v) {
  const float32x4_t s = vaddq_f32(v.low, v.high);
  return vadd_f32(vget_low_f32(s), vget_high_f32(s));
}
inline float32x2_t FoldToLargest(Vec v) {
  const float32x4_t s = LargerOf(v.low, v.high);
  const float32x2_t a = vget_low_f32(s);
  const float32x2_t b = vget_high_f32(s);
  return vbsl_f32(vcgt_f32(a, b), a, b);
}
inline float ReduceAdd(Vec v) {
  const float32x2_t two = FoldToTwo(v);
  return vget_lane_f32(vpadd_f32(two, two), 0);
}
inline float ReduceMax(Vec v) {
  const float32x2_t two = FoldToLargest(v);
  const float a = vget_lane_f32(two, 0);
  const float b = vget_lane_f32(two, 1);
  return a > b ? a : b;
}
// Four reductions at once, by the same tree as ReduceAdd: bit-equal to four calls of it.
inline void ReduceAdd4(const Vec v[4], float sums[4]) {
  const float32x4_t first = vcombine_f32(FoldToTwo(v[0]), FoldToTwo(v[1]));
  const float32x4_t second = vcombine_f32(FoldToTwo(v[2]), FoldToTwo(v[3]));
  vst1q_f32(sums, vpaddq_f32(first, second));
}
// Four reductions at once: maxima[i] = ReduceMax(v[i]).
inline void ReduceMax4(const Vec v[4], float maxima[4]) {
  const float32x4_t first = vcombine_f32(FoldToLargest(v[0]), FoldToLargest(v[1]));
  const float32x4_t second = vcombine_f32(FoldToLargest(v[2]), FoldToLargest(v[3]));
  vst1q_f32(maxima, LargerOf(vuzp1q_f32(first, second), vuzp2q_f32(first, second)));
}
// sums[4 * n + m] = ReduceAdd(v[n][m])
inline void ReduceAdd4Columns(const Vec (&v)[3][4], float* sums) {
  for (int n = 0; n < 3; ++n) {
    ReduceAdd4(v[n], sums + 4 * n);
  }
}

inline uint16x8_t LoadHalves(const std::byte* p) {
  return vreinterpretq_u16_u8(vld1q_u8(reinterpret_cast<const uint8_t*>(p)));
}
#if defined(CAUSEWAY_EMULATE_NEON)
// SIMDe rounds to halves in its own way.
inline float32x4_t FourHalves(uint16x4_t halves) {
  uint16_t from[4];
  float values[4];
  vst1_u16(from, halves);
  for (int i = 0; i < 4; ++i) {
    values[i] = HalfToFloat(from[i]);
  }
  return vld1q_f32(values);
}
inline uint16x4_t ToHalves(float32x4_t v) {
  float values[4];
  uint16_t halves[4];
  vst1q_f32(values, v);
  for (int i = 0; i < 4; ++i) {
    halves[i] = FloatToHalf(values[i]);
  }
  return vld1_u16(halves);
}
#else
inline float32x4_t FourHalves(uint16x4_t halves) { return vcvt_f32_f16(vreinterpret_f16_u16(halves)); }
inline uint16x4_t ToHalves(float32x4_t v) { return vreinterpret_u16_f16(vcvt_f16_f32(v)); }
#endif
inline Vec LoadF16(const std::byte* p) {
  const uint16x8_t halves = LoadHalves(p);
  return {FourHalves(vget_low_u16(halves)), FourHalves(vget_high_u16(halves))};
}
inline void StoreF16(std::byte* p, Vec v) {
  vst1q_u8(reinterpret_cast<uint8_t*>(p), vreinterpretq_u8_u16(vcombine_u16(ToHalves(v.low), ToHalves(v.high))));
}

inline float32x4_t UpperHalves(uint16x4_t halves) { return vreinterpretq_f32_u32(vshll_n_u16(halves, 16)); }
inline Vec LoadBF16(const std::byte* p) {
  const uint16x8_t halves = LoadHalves(p);
  return {UpperHalves(vget_low_u16(halves)), UpperHalves(vget_high_u16(halves))};
}
// The even-numbered and the odd-numbered ones of 2 * kLanes BF16 values: one cheap operation for each four.
inline float32x4_t EvenBF16(const std::byte* p) {
  return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_u16(LoadHalves(p)), 16));
}
inline float32x4_t OddBF16(const std::byte* p) {
  return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_u16(LoadHalves(p)), vdupq_n_u32(0xffff0000U)));
}
inline Vec LoadBF16Even(const std::byte* p) { return {EvenBF16(p), EvenBF16(p + 16)}; }
inline Vec LoadBF16Odd(const std::byte* p) { return {OddBF16(p), OddBF16(p + 16)}; }
// The same split of 2 * kLanes float32 values.
inline void Deinterleave(const float* p, Vec& even, Vec& odd) {
  const Vec a = Load(p);
  const Vec b = Load(p + kLanes);
  even = {vuzp1q_f32(a.low, a.high), vuzp1q_f32(b.low, b.high)};
  odd = {vuzp2q_f32(a.low, a.high), vuzp2q_f32(b.low, b.high)};
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
