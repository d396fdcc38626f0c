// The register tile of linear: M rows of x times kWide rows of a weight over one group of k. Each output
// has one accumulator with lanes along k, so its bits depend on its own two rows only, and a tile of any
// height gives the same ones, whether it reads the weight from the file or unpacked from a strip.
#pragma once

#include "kernels/cpu/ahead.h"
#include "kernels/cpu/linear_rows.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

#if defined(CAUSEWAY_ISA_AVX512)
constexpr int kWide = 6;  // 4 x 6 accumulators, six weights and one x: 31 of 32 registers
#else
constexpr int kWide = 3;  // 4 x 3 accumulators, three weights and one x: all 16 registers
#endif
constexpr int kTall = 4;  // rows of x in the tallest tile
constexpr int64_t kLineBytes = 64;

#define CAUSEWAY_UNROLL _Pragma("GCC unroll 8")
#define CAUSEWAY_INLINE inline __attribute__((always_inline))

// Sums of a tile over one group: that of weight row n and row m of x is at n * kSumN + m * kSumM.
#if defined(CAUSEWAY_ISA_AVX512)
constexpr int kSumN = 1;
constexpr int kSumM = 8;
using TileSums = float[kTall * kSumM];
#else
constexpr int kSumN = kTall;
constexpr int kSumM = 1;
using TileSums = float[kWide * kSumN];
#endif

template <int M>
CAUSEWAY_INLINE void ClearTile(Vec (&acc)[kWide][kTall]) {
  CAUSEWAY_UNROLL for (int n = 0; n < kWide; ++n) {
    CAUSEWAY_UNROLL for (int m = 0; m < M; ++m) { acc[n][m] = Zero(); }
  }
}

template <int M>
CAUSEWAY_INLINE void ReduceTile(const Vec (&acc)[kWide][kTall], TileSums& sums) {
  if constexpr (M == kTall) {
    ReduceAdd4Columns(acc, sums);
  } else {
    CAUSEWAY_UNROLL for (int n = 0; n < kWide; ++n) {
      CAUSEWAY_UNROLL for (int m = 0; m < M; ++m) { sums[n * kSumN + m * kSumM] = ReduceAdd(acc[n][m]); }
    }
  }
}

// One vector of each row: kWide weights are loaded, then each row of x meets all of them. With kKeep the
// weights, unpacked, stay behind in `strip`.
template <typename Rows, int M, int I, bool kKeep>
CAUSEWAY_INLINE void StepVector(const typename Rows::X* x, const std::byte* const (&w)[kWide], int64_t at,
                                typename Rows::X* strip, Vec (&acc)[kWide][kTall]) {
  typename Rows::V weights[kWide];
  CAUSEWAY_UNROLL for (int n = 0; n < kWide; ++n) {
    weights[n] = Rows::template LoadWeight<I>(w[n] + at);
    if constexpr (kKeep) {
      Rows::StorePacked(strip + n * Rows::kStride + I * Rows::kValues, weights[n]);
    }
  }
  CAUSEWAY_UNROLL for (int m = 0; m < M; ++m) {
    const typename Rows::V row = Rows::LoadPacked(x + m * Rows::kStride + I * Rows::kValues);
    CAUSEWAY_UNROLL for (int n = 0; n < kWide; ++n) { acc[n][m] = Rows::MulAdd(row, weights[n], acc[n][m]); }
  }
}

template <typename Rows, int M, bool kKeep>
CAUSEWAY_INLINE void StepBlock(const typename Rows::X* x, const std::byte* const (&w)[kWide], int64_t at,
                               typename Rows::X* strip, Vec (&acc)[kWide][kTall]) {
  StepVector<Rows, M, 0, kKeep>(x, w, at, strip, acc);
  if constexpr (Rows::kVectors == 2) {
    StepVector<Rows, M, 1, kKeep>(x, w, at, strip, acc);
  }
}

// A tile over `length` values of k, the weight read where it lies in the file: w[n] points at the group in
// each row. With kKeep it leaves the unpacked weights in `strip` ([kWide][kStride]) for the tiles below it.
template <typename Rows, int M, bool kKeep>
CAUSEWAY_INLINE void FileTile(const typename Rows::X* x, const std::byte* const (&w)[kWide], int64_t length,
                              typename Rows::X* strip, const Ahead& ahead, TileSums& sums) {
  Vec acc[kWide][kTall];
  ClearTile<M>(acc);
  int64_t i = 0;
  for (; i + kBlock <= length; i += kBlock) {
    AskAhead(ahead, i / kBlock);
    StepBlock<Rows, M, kKeep>(x + i, w, i * Rows::kBytes, strip + i, acc);
  }
  if (i < length) {  // the weight may end where its mapping ends: its last block is completed with zeros
    alignas(64) std::byte parts[kWide][kBlock * Rows::kBytes] = {};
    const std::byte* last[kWide];
    for (int n = 0; n < kWide; ++n) {
      std::memcpy(parts[n], w[n] + i * Rows::kBytes, static_cast<size_t>((length - i) * Rows::kBytes));
      last[n] = parts[n];
    }
    StepBlock<Rows, M, kKeep>(x + i, last, 0, strip + i, acc);
  }
  ReduceTile<M>(acc, sums);
}

// A tile over an unpacked strip of `length` values of k and zeros up to a whole block. A block a turn: a count of 32
// turns is short enough for the branch predictor to see its end, which at 64 cost a tenth of the time.
template <typename Rows, int M>
CAUSEWAY_INLINE void StripTile(const typename Rows::X* x, const typename Rows::X* strip, int64_t length,
                               const Ahead& ahead, TileSums& sums) {
  Vec acc[kWide][kTall];
  ClearTile<M>(acc);
  const int64_t turns = (length + kBlock - 1) / kBlock;
  for (int64_t turn = 0; turn < turns; ++turn, x += kBlock, strip += kBlock) {
    AskAhead(ahead, turn);
    CAUSEWAY_UNROLL for (int i = 0; i < Rows::kVectors; ++i) {
      typename Rows::V weights[kWide];
      CAUSEWAY_UNROLL for (int n = 0; n < kWide; ++n) {
        weights[n] = Rows::LoadPacked(strip + n * Rows::kStride + i * Rows::kValues);
      }
      CAUSEWAY_UNROLL for (int m = 0; m < M; ++m) {
        const typename Rows::V row = Rows::LoadPacked(x + m * Rows::kStride + i * Rows::kValues);
        CAUSEWAY_UNROLL for (int n = 0; n < kWide; ++n) { acc[n][m] = Rows::MulAdd(row, weights[n], acc[n][m]); }
      }
    }
  }
  ReduceTile<M>(acc, sums);
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
