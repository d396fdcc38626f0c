// The two products of attention over one block, for a pack of M queries that share the loads: with K in columns, and of
// weights with V in rows. One order of additions per number, whatever the pack: a score takes its dims ascending, a sum
// of V its rows.
#pragma once

#include "kernels/cpu/attention_ahead.h"
#include "kernels/cpu/attention_softmax.h"
#include "kernels/cpu/kv_rows.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

// Queries of a pack at most, and accumulators: what the registers hold beside the operands.
#if defined(CAUSEWAY_ISA_AVX512)
constexpr int kPack = 8;
constexpr int kAccumulators = 16;
#else
constexpr int kPack = 4;
constexpr int kAccumulators = 8;
#endif

// Vectors beside each other for M queries.
template <int M>
constexpr int kVectorsOf = std::min<int>({kAccumulators / M, 8, kBlock / kLanes});

// How often a line that is ahead is asked for: while K is turned into columns, and by a pack of M between the steps of
// its products, where a whole one has arithmetic enough for once.
constexpr int kTimesOfColumns = 3;
template <int M>
constexpr int kTimesOf = M == kPack ? 1 : kTimesOfColumns;

// Products of M queries, q[dim][M], with kVectors vectors of keys in columns, k[dim][kBlock]: scores[M][kBlock].
template <int M, int kVectors, KvFormat kFormat, typename Ahead>
inline void Products(const float* q, const std::byte* k, int64_t head_dim, Ahead& ahead, float* scores) {
  constexpr int64_t kBytes = kFormat == KvFormat::kF32 ? 4 : 2;
  Vec acc[M][kVectors];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 8
    for (int n = 0; n < kVectors; ++n) {
      acc[m][n] = Zero();
    }
  }
  const auto step = [&](int64_t dim) __attribute__((always_inline)) {
    Vec keys[kVectors];
#pragma GCC unroll 8
    for (int n = 0; n < kVectors; ++n) {
      keys[n] = LoadKv<kFormat>(k + (dim * kBlock + n * kLanes) * kBytes);
    }
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      const Vec value = Set1(q[dim * M + m]);
#pragma GCC unroll 8
      for (int n = 0; n < kVectors; ++n) {
        acc[m][n] = Fma(value, keys[n], acc[m][n]);
      }
    }
  };
  int64_t dim = 0;
  for (; Ahead::kBetweenSteps && dim + kPortion <= head_dim; dim += kPortion) {
    typename Ahead::Portion portion = ahead.Next();
#pragma GCC unroll 8
    for (int64_t i = 0; i < kPortion; ++i) {
      step(dim + i);
      portion.template Ask<kTimesOf<M>>();
    }
  }
#pragma GCC unroll 1
  for (; dim < head_dim; ++dim) {
    step(dim);
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 8
    for (int n = 0; n < kVectors; ++n) {
      Store(scores + m * kBlock + n * kLanes, acc[m][n]);
    }
  }
}

// For M queries, sums[m * stride] += sum over rows [low, high) of weights[m][row] * v[row], rows ascending, of
// kVectors vectors from `at` on.
template <int M, int kVectors, KvFormat kFormat, typename Ahead>
inline void AddVectors(const float* weights, const RowRuns& v, int64_t low, int64_t high, int64_t at, float* sums,
                       int64_t stride, Ahead& ahead) {
  constexpr int64_t kBytes = kFormat == KvFormat::kF32 ? 4 : 2;
  Vec acc[M][kVectors];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 8
    for (int n = 0; n < kVectors; ++n) {
      acc[m][n] = Load(sums + m * stride + at + n * kLanes);
    }
  }
  const auto step = [&](const std::byte* from, int64_t row) __attribute__((always_inline)) {
    Vec values[kVectors];
#pragma GCC unroll 8
    for (int n = 0; n < kVectors; ++n) {
      values[n] = LoadKv<kFormat>(from + n * kLanes * kBytes);
    }
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      const Vec weight = Set1(weights[m * kBlock + row]);
#pragma GCC unroll 8
      for (int n = 0; n < kVectors; ++n) {
        acc[m][n] = Fma(weight, values[n], acc[m][n]);
      }
    }
  };
  for (int64_t row = low; row < high;) {
    const std::byte* from = v.At(row) + at * kBytes;
    if (!Ahead::kBetweenSteps) {
      const int64_t stop = std::min(high, (row / kKvRun + 1) * kKvRun);
#pragma GCC unroll 1
      for (; row < stop; ++row, from += v.row_bytes) {
        step(from, row);
      }
    } else if (row % kPortion == 0 && row + kPortion <= high) {
      typename Ahead::Portion portion = ahead.Next();
#pragma GCC unroll 8
      for (int64_t i = 0; i < kPortion; ++i, from += v.row_bytes) {
        step(from, row + i);
        portion.template Ask<kTimesOf<M>>();
      }
      row += kPortion;
    } else {
      step(from, row++);
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 8
    for (int n = 0; n < kVectors; ++n) {
      Store(sums + m * stride + at + n * kLanes, acc[m][n]);
    }
  }
}

template <int M, KvFormat kFormat, typename Ahead>
void AddRows(const float* weights, const RowRuns& v, int64_t low, int64_t high, const State& first, int64_t stride,
             Ahead& ahead) {
  constexpr int kVectors = kVectorsOf<M>;
  int64_t at = 0;
  for (; at + kVectors * kLanes <= first.padded; at += kVectors * kLanes) {
    AddVectors<M, kVectors, kFormat>(weights, v, low, high, at, first.sum, stride, ahead);
  }
  for (; at < first.padded; at += kLanes) {
    AddVectors<M, 1, kFormat>(weights, v, low, high, at, first.sum, stride, ahead);
  }
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
