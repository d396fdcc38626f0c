// What attention does with one block: packs of queries are folded with it into their states. K comes in columns
// (kernels/cpu/kv_transpose.h) and V in rows, both in the cache's format or as float32; the bits are the same.
#pragma once

#include "kernels/cpu/attention_tile.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

// Queries of the next pack, where `count` are left: a power of two.
inline int64_t PackOf(int64_t count) {
  int64_t pack = kPack;
  while (pack > count) {
    pack /= 2;
  }
  return pack;
}

// K in columns and V in rows, of the same format.
struct BlockRows {
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
template <int M, KvFormat kFormat, typename Ahead>
void AddUnlike(const Pack& pack, const float* weights, const bool* weighed, const RowRuns& v, Ahead& ahead) {
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
template <int M, KvFormat kFormat, typename Ahead>
void AbsorbPack(const ScoreScale& scale, const BlockRows& block, int64_t head_dim, const Pack& pack, Ahead& ahead) {
  constexpr int kVectors = kVectorsOf<M>;
  constexpr int64_t kBytes = kFormat == KvFormat::kF32 ? 4 : 2;
  alignas(64) float scores[M * kBlock];
  bool weighed[M] = {};
  int64_t low = kBlock;
  int64_t high = 0;
  for (int m = 0; m < M; ++m) {
    low = std::min(low, pack.sights[m].low);
    high = std::max(high, pack.sights[m].high);
  }
  if (low >= high) {
    return;
  }
  constexpr int64_t kStep = kVectors * kLanes;
  for (int64_t key = low / kStep * kStep; key < high; key += kStep) {
    Products<M, kVectors, kFormat>(pack.q, block.k + key * kBytes, head_dim, ahead, scores + key);
  }
  bool alike = true;
  for (int m = 0; m < M; ++m) {
    alike = alike && pack.sights[m].low == low && pack.sights[m].high == high;
  }
  if (alike) {
    Weigh<M>(scale, low, high, scores, pack.first, pack.stride, weighed);
    alike = std::all_of(weighed, weighed + M, [](bool does) { return does; });
  } else {
    for (int m = 0; m < M; ++m) {
      const Sight& sight = pack.sights[m];
      weighed[m] = false;
      if (sight.low < sight.high) {
        Weigh<1>(scale, sight.low, sight.high, scores + m * kBlock, pack.StateOf(m), 0, weighed + m);
      }
    }
  }
  if (alike) {
    AddRows<M, kFormat>(scores, block.v, low, high, pack.first, pack.stride, ahead);
  } else {
    AddUnlike<M, kFormat>(pack, scores, weighed, block.v, ahead);
  }
}

template <KvFormat kFormat, typename Ahead>
void AbsorbQueries(const ScoreScale& scale, const BlockRows& block, int64_t head_dim, int64_t count, Pack pack,
                   Ahead& ahead) {
  for (int64_t left = count; left > 0;) {
    const int64_t m = PackOf(left);
    ahead.NextPack();
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
