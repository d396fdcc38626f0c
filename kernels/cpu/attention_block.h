// The arithmetic of attention over one block of K and V: scores of some queries, and their weighted sums of V. Rows
// come unpacked or, where few queries share them, straight from the cache; the bits are the same.
#pragma once

#include "kernels/cpu/kv_rows.h"
#include "kernels/cpu/tile.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr int64_t kBlock = kAttentionBlock;
// Queries whose scores, and whose sums of V, share the loads of a block: what the registers hold.
#if defined(CAUSEWAY_ISA_AVX512)
constexpr int kScoreRows = 4;
constexpr int kSumRows = 4;
constexpr int kDirectSums = 16;  // scores that a register tile over rows in the cache computes
#else
constexpr int kScoreRows = 3;
constexpr int kSumRows = 2;
constexpr int kDirectSums = 8;
#endif

// One unpacked block: rows of K and V as float32, [kBlock][padded].
struct Block {
  int64_t first;  // absolute position of row 0
  int64_t rows;   // valid ones
  const float* k;
  const float* v;
};

// Vectors of a block's rows, float32 in memory of our own.
struct FloatRows {
  const float* data;
  int64_t stride;
  Vec operator()(int64_t row, int64_t at) const { return Load(data + row * stride + at); }
};

// The same in the cache.
template <KvFormat kFormat>
struct CacheRows {
  const std::byte* data;
  int64_t row_bytes;
  Vec operator()(int64_t row, int64_t at) const {
    return LoadKv<kFormat>(data + row * row_bytes + at * KvFormatBytes(kFormat));
  }
};

// Scores of M queries against the block, kKeys at a time: [M][kBlock].
template <int M, int kKeys, typename Rows>
void ScoresOf(const float* q, int64_t padded, const Rows& k, float* scores) {
  for (int64_t key = 0; key < kBlock; key += kKeys) {
    float sums[M][kKeys];
    TileOf<M, kKeys>(
        q, padded, [&](int64_t n, int64_t at) { return k(key + n, at); }, padded, sums);
    for (int m = 0; m < M; ++m) {
      std::memcpy(scores + m * kBlock + key, sums[m], sizeof(sums[m]));
    }
  }
}

void AllScores(const float* q, int64_t queries, int64_t padded, const Block& block, float* scores) {
  const FloatRows k{block.k, padded};
  int64_t m = 0;
  for (; m + kScoreRows <= queries; m += kScoreRows) {
    ScoresOf<kScoreRows, 4>(q + m * padded, padded, k, scores + m * kBlock);
  }
  for (; m < queries; ++m) {
    ScoresOf<1, 4>(q + m * padded, padded, k, scores + m * kBlock);
  }
}

// For M queries, sums[m] += sum over rows [low, high) of weights[m][row] * v[row], rows ascending, kVectors
// vectors at a time. The order of a query's sum does not depend on the others.
template <int M, int kVectors, typename Rows>
inline __attribute__((always_inline)) void AddVectors(const float* const* weights, const Rows& v, int64_t low,
                                                      int64_t high, float* const* sums, int64_t at) {
  Vec acc[M][kVectors];
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) {
      acc[m][i] = Load(sums[m] + at + i * kLanes);
    }
  }
  for (int64_t row = low; row < high; ++row) {
    Vec values[kVectors];
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) {
      values[i] = v(row, at + i * kLanes);
    }
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) {
      const Vec weight = Set1(weights[m][row]);
#pragma GCC unroll 8
      for (int i = 0; i < kVectors; ++i) {
        acc[m][i] = Fma(weight, values[i], acc[m][i]);
      }
    }
  }
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) {
      Store(sums[m] + at + i * kLanes, acc[m][i]);
    }
  }
}

template <int M, typename Rows>
void AddRows(const float* const* weights, const Rows& v, int64_t padded, int64_t low, int64_t high,
             float* const* sums) {
  int64_t at = 0;
  for (; at + 4 * kLanes <= padded; at += 4 * kLanes) {
    AddVectors<M, 4>(weights, v, low, high, sums, at);
  }
  for (; at < padded; at += kLanes) {
    AddVectors<M, 1>(weights, v, low, high, sums, at);
  }
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
