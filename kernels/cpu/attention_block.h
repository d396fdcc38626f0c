// The arithmetic of attention over one block: a pack of queries that share the loads of K and V. K comes in columns
// (kernels/cpu/kv_transpose.h) and V in rows, both in the cache's format where few queries share a block and as float32
// where many do; the bits are the same. An order of additions per number, whatever the pack: a score takes its dims
// ascending, a sum of V its rows.
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
constexpr int kPortion = 4;  // dims or rows between two requests for the block ahead

// Vectors beside each other for M queries.
template <int M>
constexpr int kVectorsOf = std::min<int>({kAccumulators / M, 4, kBlock / kLanes});

// Queries of the next pack, where `count` are left: a power of two.
inline int64_t PackOf(int64_t count) {
  int64_t pack = kPack;
  while (pack > count) {
    pack /= 2;
  }
  return pack;
}

// Products of M queries, q[dim][M], with kVectors vectors of keys in columns, k[dim][kBlock]: scores[M][kBlock].
template <int M, int kVectors, KvFormat kFormat>
inline void Products(const float* q, const std::byte* k, int64_t head_dim, BlockAhead& ahead, float* scores) {
  constexpr int64_t kBytes = kFormat == KvFormat::kF32 ? 4 : 2;
  Vec acc[M][kVectors];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 8
    for (int n = 0; n < kVectors; ++n) {
      acc[m][n] = Zero();
    }
  }
  for (int64_t begin = 0; begin < head_dim; begin += kPortion) {
    const int64_t end = std::min(begin + kPortion, head_dim);
    for (int64_t dim = begin; dim < end; ++dim, q += M, k += kBlock * kBytes) {
      Vec keys[kVectors];
#pragma GCC unroll 8
      for (int n = 0; n < kVectors; ++n) {
        keys[n] = LoadKv<kFormat>(k + n * kLanes * kBytes);
      }
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) {
        const Vec value = Set1(q[m]);
#pragma GCC unroll 8
        for (int n = 0; n < kVectors; ++n) {
          acc[m][n] = Fma(value, keys[n], acc[m][n]);
        }
      }
    }
    ahead.Ask();
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
template <int M, int kVectors, KvFormat kFormat>
inline void AddVectors(const float* weights, const RowRuns& v, int64_t low, int64_t high, int64_t at, float* sums,
                       int64_t stride, BlockAhead& ahead) {
  constexpr int64_t kBytes = kFormat == KvFormat::kF32 ? 4 : 2;
  Vec acc[M][kVectors];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 8
    for (int n = 0; n < kVectors; ++n) {
      acc[m][n] = Load(sums + m * stride + at + n * kLanes);
    }
  }
  for (int64_t begin = low; begin < high;) {
    const int64_t end = std::min(begin / kPortion * kPortion + kPortion, high);
    const std::byte* row = v.At(begin) + at * kBytes;
    for (; begin < end; ++begin, row += v.row_bytes) {
      Vec values[kVectors];
#pragma GCC unroll 8
      for (int n = 0; n < kVectors; ++n) {
        values[n] = LoadKv<kFormat>(row + n * kLanes * kBytes);
      }
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) {
        const Vec weight = Set1(weights[m * kBlock + begin]);
#pragma GCC unroll 8
        for (int n = 0; n < kVectors; ++n) {
          acc[m][n] = Fma(weight, values[n], acc[m][n]);
        }
      }
    }
    ahead.Ask();
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 8
    for (int n = 0; n < kVectors; ++n) {
      Store(sums + m * stride + at + n * kLanes, acc[m][n]);
    }
  }
}

template <int M, KvFormat kFormat>
void AddRows(const float* weights, const RowRuns& v, int64_t low, int64_t high, const State& first, int64_t stride,
             BlockAhead& ahead) {
  constexpr int kVectors = kVectorsOf<M>;
  int64_t at = 0;
  for (; at + kVectors * kLanes <= first.padded; at += kVectors * kLanes) {
    AddVectors<M, kVectors, kFormat>(weights, v, low, high, at, first.sum, stride, ahead);
  }
  for (; at < first.padded; at += kLanes) {
    AddVectors<M, 1, kFormat>(weights, v, low, high, at, first.sum, stride, ahead);
  }
}

// K in columns and V in rows, of the same format.
struct BlockRows {
  int64_t first;  // absolute position of row 0
  const std::byte* k;
  RowRuns v;
};

// A query's rows of the block.
struct Sight {
  int64_t low;
  int64_t high;
};

// Queries that are taken together: their values [head_dim][M], what each sees, and their states, `stride` floats apart.
struct Pack {
  const float* q;
  const Sight* sights;
  State first;
  int64_t stride;

  State StateOf(int64_t m) const { return {first.sum + m * stride, first.padded}; }
};

// Adds V for queries that do not all see the same rows: what is common to them together, the rest one by one.
template <int M, KvFormat kFormat>
void AddUnlike(const Pack& pack, const float* weights, const bool* weighed, const RowRuns& v, BlockAhead& ahead) {
  Sight common{0, kBlock};
  for (int m = 0; m < M; ++m) {
    common.low = std::max(common.low, pack.sights[m].low);
    common.high = weighed[m] ? std::min(common.high, pack.sights[m].high) : 0;
  }
  const bool together = common.low < common.high;
  const auto alone = [&](int m, int64_t low, int64_t high) {
    if (low < high && weighed[m]) {
      AddRows<1, kFormat>(weights + m * kBlock, v, low, high, pack.StateOf(m), 0, ahead);
    }
  };
  for (int m = 0; m < M; ++m) {
    alone(m, pack.sights[m].low, together ? common.low : pack.sights[m].high);
  }
  if (together) {
    AddRows<M, kFormat>(weights, v, common.low, common.high, pack.first, pack.stride, ahead);
    for (int m = 0; m < M; ++m) {
      alone(m, common.high, pack.sights[m].high);
    }
  }
}

// Folds a block into the states of M queries.
template <int M, KvFormat kFormat>
void AbsorbPack(const ScoreScale& scale, const BlockRows& block, int64_t head_dim, const Pack& pack,
                BlockAhead& ahead) {
  constexpr int kVectors = kVectorsOf<M>;
  constexpr int64_t kBytes = kFormat == KvFormat::kF32 ? 4 : 2;
  alignas(64) float scores[M * kBlock];
  bool weighed[M];
  int64_t low = kBlock;
  int64_t high = 0;
  for (int m = 0; m < M; ++m) {
    low = std::min(low, pack.sights[m].low);
    high = std::max(high, pack.sights[m].high);
  }
  constexpr int64_t kStep = kVectors * kLanes;
  for (int64_t key = low / kStep * kStep; key < high; key += kStep) {
    Products<M, kVectors, kFormat>(pack.q, block.k + key * kBytes, head_dim, ahead, scores + key);
  }
  bool alike = true;
  for (int m = 0; m < M; ++m) {
    const Sight& sight = pack.sights[m];
    weighed[m] = sight.low < sight.high && Weigh(scale, sight.low, sight.high, scores + m * kBlock, pack.StateOf(m));
    alike = alike && weighed[m] && sight.low == low && sight.high == high;
  }
  if (alike) {
    AddRows<M, kFormat>(scores, block.v, low, high, pack.first, pack.stride, ahead);
  } else {
    AddUnlike<M, kFormat>(pack, scores, weighed, block.v, ahead);
  }
}

template <KvFormat kFormat>
void AbsorbQueries(const ScoreScale& scale, const BlockRows& block, int64_t head_dim, int64_t count, Pack pack,
                   BlockAhead& ahead) {
  for (int64_t left = count; left > 0;) {
    const int64_t m = PackOf(left);
    switch (m) {
#if defined(CAUSEWAY_ISA_AVX512)
      case 8: AbsorbPack<8, kFormat>(scale, block, head_dim, pack, ahead); break;
#endif
      case 4: AbsorbPack<4, kFormat>(scale, block, head_dim, pack, ahead); break;
      case 2: AbsorbPack<2, kFormat>(scale, block, head_dim, pack, ahead); break;
      default: AbsorbPack<1, kFormat>(scale, block, head_dim, pack, ahead); break;
    }
    left -= m;
    pack.q += m * head_dim;
    pack.sights += m;
    pack.first.sum += m * pack.stride;
  }
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
