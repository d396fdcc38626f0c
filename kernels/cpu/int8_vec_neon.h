// The integer tile with NEON: a panel's sixteen rows are four registers of four k of four rows each. Products are of
// signed bytes and add up in 32 bits, from what the weights' offset takes off on. Included by int8_codes.h only.
#pragma once

#include "kernels/cpu/int8_sums_neon.h"
#include "kernels/packed.h"
#include "kernels/quantized_x.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr int kMaxHeight = 4;                                      // rows of x in a tile: 16 of 32 registers add up
constexpr int WidthOf(int height) { return height == 1 ? 2 : 1; }  // panels in a tile: eight chains for one row

constexpr bool kSignedBytes = true;  // codes of at most six bits are signed numbers as they are
constexpr bool kStartsFromOffset = true;
constexpr bool kUnpacksFields = false;
constexpr bool kUnpacksSigns = false;
constexpr bool kScalesIntegers = false;
constexpr bool kLongInTwoSums = false;
constexpr bool kLongInTwoPasses = true;
constexpr int PairedQuads(const PackedTraits&, bool) { return 0; }

using Bytes = uint8x16_t;
using Ints = int32x4_t;

inline const uint8_t* AsBytes(const std::byte* p) { return reinterpret_cast<const uint8_t*>(p); }
inline Bytes LoadBytes(const std::byte* p) { return vld1q_u8(AsBytes(p)); }
inline void StoreBytes(std::byte* p, Bytes bytes) { vst1q_u8(reinterpret_cast<uint8_t*>(p), bytes); }
inline Bytes BroadcastFour(const std::byte* p) {
  uint32_t four;
  std::memcpy(&four, p, sizeof(four));
  return vreinterpretq_u8_u32(vdupq_n_u32(four));
}
template <int kBits>
inline Bytes ShiftRight(Bytes bytes) {
  return vshrq_n_u8(bytes, kBits);
}
template <int kBits>
inline Bytes ShiftLeft(Bytes bytes) {
  return vshlq_n_u8(bytes, kBits);
}
inline Bytes And(Bytes bytes, int mask) { return vandq_u8(bytes, vdupq_n_u8(static_cast<uint8_t>(mask))); }
inline Bytes Or(Bytes a, Bytes b) { return vorrq_u8(a, b); }
inline Bytes Less(Bytes bytes, int by) { return vsubq_u8(bytes, vdupq_n_u8(static_cast<uint8_t>(by))); }
inline Bytes FlipSigns(Bytes bytes) { return veorq_u8(bytes, vdupq_n_u8(0x80)); }
// Codes below 16 to the table's bytes.
inline Bytes LookUp(const int8_t (&table)[16], Bytes codes) {
  return vreinterpretq_u8_s8(vqtbl1q_s8(vld1q_s8(table), codes));
}

// Numbers of the rows of a part; bytes are unsigned.
inline uint32x4_t FourBytes(const std::byte* p, int64_t part) {
  uint32_t bytes;
  std::memcpy(&bytes, p + part * 4, sizeof(bytes));
  return vmovl_u16(vget_low_u16(vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(bytes)))));
}
inline Ints BytesAt(const std::byte* p, int64_t part) { return vreinterpretq_s32_u32(FourBytes(p, part)); }
inline Floats ToFloats(Ints whole) { return vcvtq_f32_s32(whole); }
inline Floats SignedFloats(const std::byte* p, int64_t part) {
  const int32x4_t upper = vreinterpretq_s32_u32(vshlq_n_u32(FourBytes(p, part), 24));
  return vcvtq_f32_s32(vshrq_n_s32(upper, 24));
}
inline Floats HalfFloats(const std::byte* p, int64_t part) {
  return FourHalves(vreinterpret_u16_u8(vld1_u8(AsBytes(p + part * 8))));
}
inline Floats BrainFloats(const std::byte* p, int64_t part) {
  return UpperHalves(vreinterpret_u16_u8(vld1_u8(AsBytes(p + part * 8))));
}
inline Floats FloatsAt(const float* p, int64_t part) { return vld1q_f32(p + part * 4); }
inline void StoreFloats(float* p, int64_t part, Floats floats) { vst1q_f32(p + part * 4, floats); }
inline Floats AllLanes(float x) { return vdupq_n_f32(x); }
inline Floats Multiply(Floats a, Floats b) { return vmulq_f32(a, b); }
inline Floats FusedMultiplyAdd(Floats a, Floats b, Floats sum) { return vfmaq_f32(sum, a, b); }

inline Ints AllInts(int32_t x) { return vdupq_n_s32(x); }
inline Ints AddInts(Ints a, Ints b) { return vaddq_s32(a, b); }
// A sum of high halves as that of numbers.
inline Ints FromHighHalf(Ints sum) { return vshlq_n_s32(sum, 7); }
// sum + the products of weights with a row's quad of x, four to a lane.
inline Ints DotBytes(Ints sum, Bytes weights, Bytes four) {
  const int8x16_t a = vreinterpretq_s8_u8(weights);
  const int8x16_t b = vreinterpretq_s8_u8(four);
#if defined(CAUSEWAY_ISA_NEON_DOTPROD)
  return vdotq_s32(sum, a, b);
#else  // a pair fits 16 bits: 2 * 128 * 127 < 32768
  const int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b));
  const int16x8_t high = vmull_s8(vget_high_s8(a), vget_high_s8(b));
  return vpadalq_s16(sum, vpaddq_s16(low, high));
#endif
}
template <bool kSigned>
inline Ints AddProducts(Ints sum, Bytes weights, Bytes four) {
  return DotBytes(sum, weights, four);
}
// In its register: else g++ decodes far ahead and stores what it has.
inline void KeepInRegister([[maybe_unused]] Ints& sum) {
#if defined(__aarch64__)
  asm volatile("" : "+w"(sum));
#endif
}

// What is taken off the products of a group: zero points, or an offset, times the sum of x's codes or of half of them.
template <int kLess>
inline Ints ZerosAt(const std::byte* p, int64_t part) {
  return vsubq_s32(BytesAt(p, part), vdupq_n_s32(kLess));
}
inline Ints TimesMinusSum(Ints zeros, const XGroup& group) { return vmulq_n_s32(zeros, group.minus_sum); }
template <int kOffset>
inline Ints TimesMinusSum(const XGroup& group) {
  return vdupq_n_s32(kOffset * group.minus_sum);
}
template <int kOffset, int kHalf>
inline Ints TimesMinusHalf(const XGroup& group) {
  return vdupq_n_s32(kOffset * (kHalf == 0 ? group.minus_sum - group.minus_second_half : group.minus_second_half));
}

// Eight e4m3 codes as numbers (kernels/packed_numbers.h): the mantissa times 2^(exponent - 5), rounded half up.
inline int16x8_t E4M3Numbers(uint8x8_t codes) {
  const uint8x8_t exponent = vand_u8(vshr_n_u8(codes, 3), vdup_n_u8(0xf));
  const uint8x8_t leading = vand_u8(vcgt_u8(exponent, vdup_n_u8(0)), vdup_n_u8(8));
  const uint8x8_t mantissa = vorr_u8(vand_u8(codes, vdup_n_u8(7)), leading);
  const int8x8_t shift = vsub_s8(vreinterpret_s8_u8(vmax_u8(exponent, vdup_n_u8(1))), vdup_n_s8(5));
  const int16x8_t magnitude = vrshlq_s16(vreinterpretq_s16_u16(vmovl_u8(mantissa)), vmovl_s8(shift));
  const int16x8_t minus = vmovl_s8(vshr_n_s8(vreinterpret_s8_u8(codes), 7));  // all ones or zeros
  return vsubq_s16(veorq_s16(magnitude, minus), minus);
}
// Codes to halves of their numbers: number >> 7, signed, and the seven bits below.
inline void SplitE4M3(Bytes codes, Bytes& high, Bytes& low) {
  const int16x8_t first = E4M3Numbers(vget_low_u8(codes));
  const int16x8_t second = E4M3Numbers(vget_high_u8(codes));
  high = vreinterpretq_u8_s8(vcombine_s8(vshrn_n_s16(first, 7), vshrn_n_s16(second, 7)));
  low = And(vreinterpretq_u8_s8(vcombine_s8(vmovn_s16(first), vmovn_s16(second))), 127);
}
// But for NaN: the bits, moved to where a float has them, are 2^-120 times the number.
inline Floats E4M3Floats(const std::byte* p, int64_t part) {
  const uint32x4_t bytes = FourBytes(p, part);
  const uint32x4_t sign = vshlq_n_u32(vandq_u32(bytes, vdupq_n_u32(0x80)), 24);
  const uint32x4_t magnitude = vshlq_n_u32(vandq_u32(bytes, vdupq_n_u32(0x7f)), 20);
  return vmulq_f32(vreinterpretq_f32_u32(vorrq_u32(sign, magnitude)), vdupq_n_f32(0x1p120F));
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
