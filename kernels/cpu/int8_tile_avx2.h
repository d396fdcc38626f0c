// The integer tile with AVX2: a panel's sixteen rows are two registers of four k of eight rows each. Products of 4-bit
// codes add up in 16 bits over a group (8 * 2 * 15 * 127 < 32768); 8-bit ones take the sign from the weight to x, so
// that the unsigned operand is |code| <= 128 and a pair fits (2 * 128 * 127 < 32768). Included by linear_int8.cc only.
#pragma once

#include "kernels/cpu/vec.h"
#include "kernels/packed.h"
#include "kernels/quantized_x.h"

#include <immintrin.h>

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr int kMaxHeight = 4;                                                        // rows of x in a tile
constexpr int WidthOf(int height) { return height == 1 ? 4 : height == 2 ? 2 : 1; }  // panels in a tile
struct Sums {  // one panel's outputs of a row of x
  __m256 half[2];
};
constexpr int64_t kAheadInStream = 2048;  // bytes of its own panel that a tile asks for beforehand
using LaneMask = int64_t;                 // how many of a panel's rows there are

inline LaneMask MaskOf(int64_t valid) { return valid; }
inline void ClearSums(Sums& sums) { sums.half[0] = sums.half[1] = _mm256_setzero_ps(); }
inline void AddBias(const float* p, LaneMask valid, Sums& sums) {
  alignas(32) float values[kPanelRows] = {};
  std::memcpy(values, p, static_cast<size_t>(valid) * sizeof(float));
  sums.half[0] = _mm256_add_ps(sums.half[0], _mm256_load_ps(values));
  sums.half[1] = _mm256_add_ps(sums.half[1], _mm256_load_ps(values + 8));
}
inline void StoreSums(float* p, LaneMask valid, const Sums& sums) {
  alignas(32) float values[kPanelRows];
  float* const to = valid < kPanelRows ? values : p;
  _mm256_storeu_ps(to, sums.half[0]);
  _mm256_storeu_ps(to + 8, sums.half[1]);
  if (valid < kPanelRows) {
    std::memcpy(p, values, static_cast<size_t>(valid) * sizeof(float));
  }
}
// kLanes values, already whole numbers in [-127, 127].
inline void StoreCodes(int8_t* p, Vec rounded) {
  alignas(64) float values[kLanes];
  Store(values, rounded);
  for (int i = 0; i < kLanes; ++i) {
    p[i] = static_cast<int8_t>(values[i]);
  }
}

inline __m256i LoadHalf(const std::byte* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline __m256i BroadcastFour(const int8_t* p) {
  int32_t four;
  std::memcpy(&four, p, sizeof(four));
  return _mm256_set1_epi32(four);
}
inline __m256 HalfFloats(const std::byte* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline __m256 WidenBytes(const std::byte* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}

inline __m256 WidenSignedBytes(const std::byte* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}

// Scales (and minima) of rows 8 * half and on of a panel in group g.
template <PackedKind kKind>
CAUSEWAY_INLINE void LoadScales(const std::byte* panel, const PanelShape& shape, int64_t g, int64_t scale_group,
                                int half, __m256& scale, __m256& minimum) {
  const std::byte* const params = panel + shape.params + scale_group * ParamBytes(kKind);
  if constexpr (HasZero(kKind)) {
    scale = _mm256_loadu_ps(reinterpret_cast<const float*>(params) + half * 8);
  } else if constexpr (HasHalves(kKind)) {  // the second one in the minimum's place
    const __m256 d = HalfFloats(panel + shape.supers + g / kSuperGroups * kSuperBytes + half * 16);
    scale = _mm256_mul_ps(d, WidenSignedBytes(params + half * 8));
    minimum = _mm256_mul_ps(d, WidenSignedBytes(params + kPanelRows + half * 8));
  } else if constexpr (HasSixBit(kKind)) {
    const std::byte* const super = panel + shape.supers + g / kSuperGroups * kSuperBytes + half * 16;
    scale = _mm256_mul_ps(HalfFloats(super), WidenBytes(params + half * 8));
    minimum = _mm256_mul_ps(HalfFloats(super + kSuperBytes / 2), WidenBytes(params + kPanelRows + half * 8));
  } else {
    scale = HalfFloats(params + half * 16);
  }
}

// Zero points of such rows, as 16-bit numbers in 32: signed in the lower half, and nothing in the upper one.
template <PackedKind kKind>
CAUSEWAY_INLINE __m256i LoadZeros(const std::byte* panel, const PanelShape& shape, int64_t scale_group, int half) {
  if constexpr (HasZero(kKind)) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(
        panel + shape.params + scale_group * ParamBytes(kKind) + kPanelRows * 4 + half * 8));
    return kKind == PackedKind::kBytesZero ? _mm256_and_si256(_mm256_cvtepi8_epi32(bytes), _mm256_set1_epi32(0xffff))
                                           : _mm256_cvtepu8_epi32(bytes);
  } else {
    return _mm256_setzero_si256();
  }
}

// acc += the products of a register of the panel with one or (nibbles) two fours of x.
template <PackedKind kKind>
CAUSEWAY_INLINE void AddProducts(__m256i stored, const int8_t* x, __m256i& acc) {
  const __m256i four = BroadcastFour(x);
  if constexpr (HasBytes(kKind)) {
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(stored), _mm256_sign_epi8(four, stored));
    acc = _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  } else {
    const __m256i nibble = _mm256_set1_epi8(0xf);
    const __m256i low = _mm256_and_si256(stored, nibble);
    const __m256i high = _mm256_and_si256(_mm256_srli_epi16(stored, 4), nibble);
    acc = _mm256_add_epi16(acc, _mm256_maddubs_epi16(low, four));
    acc = _mm256_add_epi16(acc, _mm256_maddubs_epi16(high, BroadcastFour(x + kGroup / 2)));
  }
}

// Adds the groups of R panels times C rows of x to the sums, and asks for what is `ahead`.
template <PackedKind kKind, int R, int C>
CAUSEWAY_INLINE void AddGroups(const std::byte* const (&panels)[R], const PanelShape& shape, const QuantizedX& x,
                               const Ahead& ahead, Sums (&sums)[R][C]) {
  constexpr int64_t kCodeBytes = GroupCodeBytes(kKind);
  const int scale_shift = __builtin_ctzll(static_cast<uint64_t>(shape.scale_groups));
  for (int64_t g = 0; g < x.per_row; ++g) {
    const int64_t scale_group = HasZero(kKind) ? g >> scale_shift : g;
    if (ahead.next != nullptr) {
      for (int64_t line = 0; line < ahead.each; ++line) {
        __builtin_prefetch(ahead.next + (g * ahead.each + line) * 64, 0, 2);
      }
    }
    __m256i acc[R][2][C];
    __m256i halves[R][2][C];  // of second halves of groups that have their own scales
    CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) {
      CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
        acc[r][0][c] = acc[r][1][c] = halves[r][0][c] = halves[r][1][c] = _mm256_setzero_si256();
      }
    }
    CAUSEWAY_UNROLL for (int64_t j = 0; j < kCodeBytes / 64; ++j) {
      CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) {
        const std::byte* const at = panels[r] + g * kCodeBytes + j * 64;
        if (ahead.each < 0) {
          __builtin_prefetch(at + kAheadInStream, 0, 3);
        }
        CAUSEWAY_UNROLL for (int half = 0; half < 2; ++half) {
          const __m256i stored = LoadHalf(at + half * 32);
          CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
            __m256i& sum = HasHalves(kKind) && j >= kCodeBytes / 128 ? halves[r][half][c] : acc[r][half][c];
            AddProducts<kKind>(stored, x.codes + c * x.stride + g * kGroup + j * 4, sum);
          }
        }
      }
    }
    CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) {
      CAUSEWAY_UNROLL for (int half = 0; half < 2; ++half) {
        __m256 scale;
        __m256 minimum;
        LoadScales<kKind>(panels[r], shape, g, scale_group, half, scale, minimum);
        const __m256i zeros = LoadZeros<kKind>(panels[r], shape, scale_group, half);
        CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
          const XGroup& group = x.groups[c * x.per_row + g];
          __m256i dot = acc[r][half][c];
          if constexpr (!HasBytes(kKind)) {
            dot = _mm256_madd_epi16(dot, _mm256_set1_epi16(1));
          }
          if constexpr (kKind == PackedKind::kNibbles) {
            dot = _mm256_add_epi32(dot, _mm256_set1_epi32(-8 * group.Sum()));
          }
          if constexpr (HasZero(kKind)) {
            dot = _mm256_add_epi32(dot, _mm256_madd_epi16(zeros, _mm256_set1_epi32(-group.Sum() & 0xffff)));
          }
          __m256& sum = sums[r][c].half[half];
          sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), _mm256_mul_ps(scale, _mm256_set1_ps(group.scale)), sum);
          if constexpr (HasHalves(kKind)) {
            sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(halves[r][half][c]),
                                  _mm256_mul_ps(minimum, _mm256_set1_ps(group.scale)), sum);
          }
          if constexpr (HasSixBit(kKind)) {
            sum = _mm256_fnmadd_ps(minimum, _mm256_set1_ps(ScaledSum(group)), sum);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
