// What a panel's groups are scaled with, and what is taken off their sums. Included by int8_tile_avx512.h only.
#pragma once

#include "kernels/cpu/int8_e4m3.h"
#include "kernels/cpu/int8_vec_avx512.h"
#include "kernels/packed.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

// The numbers of a panel's rows in a group: of each half where halves have their own.
template <PackedKind kKind>
struct GroupParams {
  static constexpr PackedTraits kTraits = TraitsOf(kKind);
  static constexpr int kScales = kTraits.halves() ? 2 : 1;
  static constexpr int kMinima = kTraits.half_minima() ? 2 : kTraits.minimum() ? 1 : 0;
  Vec scale[2];
  Vec minimum[2];

  CAUSEWAY_INLINE void Load(const std::byte* params, const std::byte* super) {
    if constexpr (kTraits.float_scale()) {
      scale[0] = CAUSEWAY_ISA::Load(reinterpret_cast<const float*>(params));
    } else if constexpr (kTraits.params == PackedParams::kHalvesE4M3) {
      const Vec d = CAUSEWAY_ISA::Load(reinterpret_cast<const float*>(super));
      CAUSEWAY_UNROLL for (int i = 0; i < 2; ++i) { scale[i] = Mul(d, SixteenE4M3(params + i * kPanelRows)); }
    } else if constexpr (kTraits.params == PackedParams::kHalvesZero) {
      CAUSEWAY_UNROLL for (int i = 0; i < 2; ++i) {
        scale[i] = LoadF16(params + i * kPanelRows * 2);
        minimum[i] = Mul(scale[i], LoadF16(params + (2 + i) * kPanelRows * 2));
      }
    } else if constexpr (!kTraits.supers()) {
      scale[0] = LoadF16(params);
      if constexpr (kTraits.minimum()) {
        minimum[0] = LoadF16(params + kPanelRows * 2);
      }
    } else {
      constexpr int kHalves = kTraits.halves() ? 2 : 1;
      const Vec d = LoadF16(super);
      CAUSEWAY_UNROLL for (int i = 0; i < kHalves; ++i) {
        scale[i] = Mul(d, ToFloats(SixteenSignedBytes(params + i * kPanelRows)));
      }
      if constexpr (kTraits.params != PackedParams::kHalves) {
        const Vec dmin = LoadF16(super + kSuperBytes / 2);
        CAUSEWAY_UNROLL for (int i = 0; i < kHalves; ++i) {
          minimum[i] = Mul(dmin, ToFloats(SixteenBytes(params + (kHalves + i) * kPanelRows)));
        }
      }
    }
  }
  CAUSEWAY_INLINE void StoreUnpacked(float* to) const {
    CAUSEWAY_UNROLL for (int i = 0; i < kScales; ++i) { Store(to + i * kPanelRows, scale[i]); }
    CAUSEWAY_UNROLL for (int i = 0; i < kMinima; ++i) { Store(to + (kScales + i) * kPanelRows, minimum[i]); }
  }
  CAUSEWAY_INLINE void LoadUnpacked(const float* from) {
    CAUSEWAY_UNROLL for (int i = 0; i < kScales; ++i) { scale[i] = CAUSEWAY_ISA::Load(from + i * kPanelRows); }
    CAUSEWAY_UNROLL for (int i = 0; i < kMinima; ++i) {
      minimum[i] = CAUSEWAY_ISA::Load(from + (kScales + i) * kPanelRows);
    }
  }
};

template <PackedKind kKind>
void UnpackParams(const std::byte* params, const std::byte* super, std::byte* to) {
  GroupParams<kKind> numbers;
  numbers.Load(params, super);
  numbers.StoreUnpacked(reinterpret_cast<float*>(to));
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
