// Quads of a panel's groups as NEON multiplies them, signed by signed, and what their groups are scaled with. Four rows
// of a panel, four k of each, are one register. Included by int8_tile_neon.h only.
#pragma once

#include <utility>

#include "kernels/cpu/int8_vec_neon.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

// Codes of at most six bits are signed numbers as they are; bytes become so less 128. What is still to be taken off:
constexpr int OffsetLeft(const PackedTraits& traits) {
  return traits.bits == 8 || traits.table != PackedTable::kNone ? 0 : traits.offset;
}

// The order that quads are taken in: low and high nibbles of the same bytes one after the other.
constexpr int QuadAt(const PackedTraits& traits, int i) {
  return traits.low_bits() == 4 && !traits.halves() ? i / 2 + i % 2 * 4 : i;
}

// Fields of `kBits` bits of quad `kQuad` from a plane of a group, moved to bit `kTo` of each byte; others are anything.
template <int kBits, int kQuad, int kTo>
CAUSEWAY_INLINE uint8x16_t LoadFields(const std::byte* plane) {
  constexpr int kInVector = 8 / kBits;
  constexpr int kVector = kBits == 4 ? kQuad % 4 : kQuad / kInVector;
  constexpr int kShift = (kBits == 4 ? kQuad / 4 * 4 : kQuad % kInVector * kBits) - kTo;
  const uint8x16_t stored = vld1q_u8(Bytes(plane + kVector * 64));
  if constexpr (kShift > 0) {
    return vshrq_n_u8(stored, kShift);
  } else if constexpr (kShift < 0) {
    return vshlq_n_u8(stored, -kShift);
  } else {
    return stored;
  }
}

// Codes of quad `kQuad` of four of a panel's rows (`group` points at them).
template <PackedKind kKind, int kQuad>
CAUSEWAY_INLINE uint8x16_t LoadCodes(const std::byte* group) {
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  constexpr int kLow = kTraits.low_bits();
  constexpr int kHigh = kTraits.high_bits();
  if constexpr (kLow == 8) {
    return vld1q_u8(Bytes(group + kQuad * 64));
  } else {
    uint8x16_t codes = And(LoadFields<kLow, kQuad, 0>(group), (1 << kLow) - 1);
    if constexpr (kHigh > 0) {
      const uint8x16_t high = LoadFields<kHigh, kQuad, kLow>(group + kLow * 64);
      codes = vorrq_u8(codes, And(high, ((1 << kHigh) - 1) << kLow));
    }
    return codes;
  }
}

// A quad as it is multiplied: signed codes, or the numbers of a table; of long ones the halves.
struct Quad {
  int8x16_t high, low;
};

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
inline Quad SplitE4M3(uint8x16_t codes) {
  const int16x8_t first = E4M3Numbers(vget_low_u8(codes));
  const int16x8_t second = E4M3Numbers(vget_high_u8(codes));
  return {vcombine_s8(vshrn_n_s16(first, 7), vshrn_n_s16(second, 7)),
          vandq_s8(vcombine_s8(vmovn_s16(first), vmovn_s16(second)), vdupq_n_s8(127))};
}

template <PackedKind kKind, int kQuad, bool kUnpacked = false>
CAUSEWAY_INLINE Quad LoadQuad(const std::byte* group) {
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  if constexpr (kUnpacked) {
    constexpr int64_t kLowAt = (kTraits.long_numbers() ? kQuads : 0) * 64;
    return {vreinterpretq_s8_u8(vld1q_u8(Bytes(group + kQuad * 64))),
            vreinterpretq_s8_u8(vld1q_u8(Bytes(group + kLowAt + kQuad * 64)))};
  } else {
    const uint8x16_t codes = LoadCodes<kKind, kQuad>(group);
    if constexpr (kTraits.table == PackedTable::kE4M3) {
      return SplitE4M3(codes);
    } else if constexpr (kTraits.table != PackedTable::kNone) {
      static constexpr NumberBytes kNumbers = BytesOfNumbers(kTraits.table, 0);
      return {vqtbl1q_s8(vld1q_s8(kNumbers.high), codes), vqtbl1q_s8(vld1q_s8(kNumbers.low), codes)};
    } else {
      const int8x16_t numbers = vreinterpretq_s8_u8(kTraits.bits == 8 ? veorq_u8(codes, vdupq_n_u8(0x80)) : codes);
      return {numbers, numbers};
    }
  }
}

// The quads of a group, for LoadQuad of unpacked ones.
template <PackedKind kKind, int kQuad>
CAUSEWAY_INLINE void UnpackQuad(const std::byte* group, std::byte* to) {
  CAUSEWAY_UNROLL for (int four = 0; four < kFours; ++four) {
    const Quad quad = LoadQuad<kKind, kQuad>(group + four * 16);
    vst1q_s8(reinterpret_cast<int8_t*>(to + kQuad * 64 + four * 16), quad.high);
    if constexpr (TraitsOf(kKind).long_numbers()) {
      vst1q_s8(reinterpret_cast<int8_t*>(to + (kQuads + kQuad) * 64 + four * 16), quad.low);
    }
  }
}

template <PackedKind kKind, int... kQuad>
void UnpackCodes(const std::byte* group, std::byte* to, std::integer_sequence<int, kQuad...>) {
  (UnpackQuad<kKind, kQuad>(group, to), ...);
}

// Four of a panel's rows, and the numbers that a group of theirs is scaled with.
template <PackedKind kKind, bool kMade = false>
struct FourParams {
  static constexpr PackedTraits kTraits = TraitsOf(kKind);
  static constexpr int kScales = kTraits.halves() ? 2 : 1;
  static constexpr int kMinima = kTraits.half_minima() ? 2 : kTraits.minimum() ? 1 : 0;
  const std::byte* params;
  const std::byte* super;
  int64_t four;
  const float* made = nullptr;  // kMade: scales and minima, as StoreUnpacked leaves them

  // Of all of the group, or of its half `section` where halves have their own.
  CAUSEWAY_INLINE float32x4_t Scale(int section) const {
    if constexpr (kMade) {
      return vld1q_f32(made + section * kPanelRows + four * 4);
    } else if constexpr (kTraits.float_scale()) {
      return Floats(params, four);
    } else if constexpr (kTraits.params == PackedParams::kHalvesE4M3) {
      return vmulq_f32(Floats(super, four), FourE4M3(params + section * kPanelRows, four));
    } else if constexpr (kTraits.params == PackedParams::kHalvesZero) {
      return HalfFloats(params + section * kPanelRows * 2, four);
    } else if constexpr (kTraits.supers()) {
      return vmulq_f32(HalfFloats(super, four), SignedFloats(params + section * kPanelRows, four));
    } else {
      return HalfFloats(params, four);
    }
  }
  CAUSEWAY_INLINE float32x4_t Minimum(int section) const {
    if constexpr (kMade) {
      return vld1q_f32(made + (kScales + section) * kPanelRows + four * 4);
    } else if constexpr (kTraits.supers()) {
      const int64_t before = (kTraits.halves() ? 2 : 1) + section;
      const float32x4_t bytes = vcvtq_f32_u32(FourBytes(params + before * kPanelRows, four));
      return vmulq_f32(HalfFloats(super + kSuperBytes / 2, four), bytes);
    } else if constexpr (kTraits.params == PackedParams::kHalvesZero) {
      return vmulq_f32(Scale(section), HalfFloats(params + (2 + section) * kPanelRows * 2, four));
    } else {
      return HalfFloats(params + kPanelRows * 2, four);
    }
  }
  CAUSEWAY_INLINE void StoreUnpacked(float* to) const {
    CAUSEWAY_UNROLL for (int i = 0; i < kScales; ++i) { vst1q_f32(to + i * kPanelRows + four * 4, Scale(i)); }
    CAUSEWAY_UNROLL for (int i = 0; i < kMinima; ++i) {
      vst1q_f32(to + (kScales + i) * kPanelRows + four * 4, Minimum(i));
    }
  }
  // As codes are multiplied: those of bytes less 128.
  CAUSEWAY_INLINE int32x4_t Zeros() const {
    const int32x4_t bytes = vreinterpretq_s32_u32(FourBytes(params + kPanelRows * 4, four));
    return kTraits.bits == 8 ? vsubq_s32(bytes, vdupq_n_s32(128)) : bytes;
  }

  // The sum of x's codes times what is to be taken off the weight's: an offset, or zero points.
  CAUSEWAY_INLINE int32x4_t OffsetSum(int section, const XGroup& group) const {
    if constexpr (kTraits.zero()) {
      return vmulq_n_s32(Zeros(), group.minus_sum);
    } else if constexpr (OffsetLeft(kTraits) == 0) {
      return vdupq_n_s32(0);
    } else if constexpr (kTraits.halves()) {
      const int first = group.minus_sum - group.minus_second_half;
      return vdupq_n_s32(OffsetLeft(kTraits) * (section == 0 ? first : group.minus_second_half));
    } else {
      return vdupq_n_s32(OffsetLeft(kTraits) * group.minus_sum);
    }
  }
};

template <PackedKind kKind>
void UnpackParams(const std::byte* params, const std::byte* super, std::byte* to) {
  for (int64_t four = 0; four < kFours; ++four) {
    FourParams<kKind>{params, super, four}.StoreUnpacked(reinterpret_cast<float*>(to));
  }
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
