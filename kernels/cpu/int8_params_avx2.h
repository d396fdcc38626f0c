// What a panel's groups are scaled with, and what is taken off their codes. Included by int8_tile_avx2.h only.
#pragma once

#include "kernels/cpu/int8_codes_avx2.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

// Half of a panel's rows, and the numbers that a group of theirs is scaled with.
template <PackedKind kKind, bool kMade = false>
struct HalfParams {
  static constexpr PackedTraits kTraits = TraitsOf(kKind);
  static constexpr int kScales = kTraits.halves() ? 2 : 1;
  static constexpr int kMinima = kTraits.half_minima() ? 2 : kTraits.minimum() ? 1 : 0;
  const std::byte* params;
  const std::byte* super;
  int64_t half;
  const float* made = nullptr;  // kMade: scales and minima, as StoreUnpacked leaves them

  // Of all of the group, or of its half `section` where halves have their own.
  CAUSEWAY_INLINE __m256 Scale(int section) const {
    if constexpr (kMade) {
      return _mm256_loadu_ps(made + section * kPanelRows + half * 8);
    } else if constexpr (kTraits.float_scale()) {
      return _mm256_loadu_ps(reinterpret_cast<const float*>(params) + half * 8);
    } else if constexpr (kTraits.params == PackedParams::kHalvesE4M3) {
      const __m256 d = _mm256_loadu_ps(reinterpret_cast<const float*>(super) + half * 8);
      return _mm256_mul_ps(d, EightE4M3(params + section * kPanelRows + half * 8));
    } else if constexpr (kTraits.params == PackedParams::kHalvesZero) {
      return HalfFloats(params + section * kPanelRows * 2 + half * 16);
    } else if constexpr (kTraits.supers()) {
      return _mm256_mul_ps(HalfFloats(super + half * 16), SignedFloats(params + section * kPanelRows + half * 8));
    } else {
      return HalfFloats(params + half * 16);
    }
  }
  CAUSEWAY_INLINE __m256 Minimum(int section) const {
    if constexpr (kMade) {
      return _mm256_loadu_ps(made + (kScales + section) * kPanelRows + half * 8);
    } else if constexpr (kTraits.supers()) {
      const int64_t before = (kTraits.halves() ? 2 : 1) + section;
      const __m256i bytes = EightBytes(params + before * kPanelRows + half * 8);
      return _mm256_mul_ps(HalfFloats(super + kSuperBytes / 2 + half * 16), _mm256_cvtepi32_ps(bytes));
    } else if constexpr (kTraits.params == PackedParams::kHalvesZero) {
      return _mm256_mul_ps(Scale(section), HalfFloats(params + (2 + section) * kPanelRows * 2 + half * 16));
    } else {
      return HalfFloats(params + kPanelRows * 2 + half * 16);
    }
  }
  CAUSEWAY_INLINE void StoreUnpacked(float* to) const {
    CAUSEWAY_UNROLL for (int i = 0; i < kScales; ++i) { _mm256_storeu_ps(to + i * kPanelRows + half * 8, Scale(i)); }
    CAUSEWAY_UNROLL for (int i = 0; i < kMinima; ++i) {
      _mm256_storeu_ps(to + (kScales + i) * kPanelRows + half * 8, Minimum(i));
    }
  }
  // As pairs of 16 bits, the upper ones 0.
  CAUSEWAY_INLINE __m256i Zeros() const {
    const __m256i bytes = EightBytes(params + kPanelRows * 4 + half * 8);
    return IsSigned(kTraits)
               ? _mm256_and_si256(_mm256_sub_epi32(bytes, _mm256_set1_epi32(128)), _mm256_set1_epi32(0xffff))
               : bytes;
  }
};

template <PackedKind kKind>
void UnpackParams(const std::byte* params, const std::byte* super, std::byte* to) {
  for (int64_t half = 0; half < 2; ++half) {
    HalfParams<kKind>{params, super, half}.StoreUnpacked(reinterpret_cast<float*>(to));
  }
}

// The sum of x's codes times what is to be taken off the weight's: an offset, or zero points.
template <PackedKind kKind, int kSection, bool kMade>
CAUSEWAY_INLINE __m256i OffsetSum(const HalfParams<kKind, kMade>& params, const XGroup& group) {
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  constexpr int kOffset = OffsetLeft(kTraits);
  if constexpr (kTraits.zero()) {
    return _mm256_madd_epi16(params.Zeros(), MinusSums(group));
  } else if constexpr (kOffset == 0) {
    return _mm256_setzero_si256();
  } else if constexpr (kTraits.halves()) {
    constexpr int kBoth = kSection == 0 ? (kOffset | -kOffset * 65536) : kOffset * 65536;
    return _mm256_madd_epi16(MinusSums(group), _mm256_set1_epi32(kBoth));
  } else {
    constexpr int kShift = __builtin_ctz(static_cast<unsigned>(kOffset)) - 3;
    return _mm256_slli_epi32(_mm256_set1_epi32(group.minus_eight_sums), kShift);
  }
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
