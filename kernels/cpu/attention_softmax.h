// The softmax part of attention over one block: products of queries and keys to weights of V.
#pragma once

#include "kernels/cpu/attention_state.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr double kLog2OfE = 1.4426950408889634;
constexpr float kLaneNumbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// How a product of a query and a key becomes a score. Its factor is positive: the largest product is the largest score.
struct ScoreScale {
  float factor;
  float cap;  // > 0: the product first becomes cap * tanh(inner * product)
  float inner;

  explicit ScoreScale(const AttentionArgs& args)
      : factor(args.softcap > 0 ? 1.0F : static_cast<float>(static_cast<double>(args.scale) * kLog2OfE)),
        cap(static_cast<float>(static_cast<double>(args.softcap) * kLog2OfE)),
        inner(args.softcap > 0 ? args.scale / args.softcap : 0.0F) {}

  void Cap(int64_t begin, int64_t end, float* products) const {
    for (int64_t i = begin; cap > 0 && i < end; i += kLanes) {
      Store(products + i, Mul(Set1(cap), Tanh(Mul(Load(products + i), Set1(inner)))));
    }
  }
};

// Scores outside rows [low, high), in the vectors where that range begins and ends, become minus infinity.
inline void MaskEnds(int64_t low, int64_t high, float* scores) {
  const auto mask = [&](int64_t begin) {
    const Vec row = Add(Load(kLaneNumbers), Set1(static_cast<float>(begin)));
    Vec s = SelectLess(row, Set1(static_cast<float>(high)), Load(scores + begin), Set1(kMinusInfinity));
    s = SelectLess(row, Set1(static_cast<float>(low)), Set1(kMinusInfinity), s);
    Store(scores + begin, s);
  };
  if (low % kLanes != 0) {
    mask(low / kLanes * kLanes);
  }
  if (high % kLanes != 0) {
    mask(high / kLanes * kLanes);
  }
}

// The largest of rows [begin, high) of each of M queries.
template <int M>
inline void LargestOf(int64_t begin, int64_t high, const float* scores, float* largest) {
  Vec maxima[M];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
    maxima[m] = Set1(kMinusInfinity);
    for (int64_t i = begin; i < high; i += kLanes) {
      maxima[m] = Max(maxima[m], Load(scores + m * kBlock + i));
    }
  }
  if constexpr (M % 4 == 0) {
    for (int m = 0; m < M; m += 4) {
      ReduceMax4(maxima + m, largest + m);
    }
  } else {
    for (int m = 0; m < M; ++m) {
      largest[m] = ReduceMax(maxima[m]);
    }
  }
}

// How far scores may lie above what a state's weights are relative to before they become relative to the largest:
// weights of 2^kHeadroom harm nothing, and most blocks then leave the sums alone.
constexpr float kHeadroom = 8.0F;

// States of M queries, `stride` floats apart, become relative to largest[m] where that is beyond their headroom.
template <int M>
inline void RaiseTo(const float* largest, const State& first, int64_t stride) {
  alignas(64) float factors[RoundUpToLanes(M)] = {};
  for (int m = 0; m < M; ++m) {
    factors[m] = State{first.sum + m * stride, first.padded}.largest() - largest[m];
  }
  for (int m = 0; m < M; m += kLanes) {
    Store(factors + m, Exp2(Load(factors + m)));
  }
  for (int m = 0; m < M; ++m) {
    const State state{first.sum + m * stride, first.padded};
    if (largest[m] > state.largest() + kHeadroom) {
      state.Raise(largest[m], factors[m]);
    }
  }
}

// Turns the products of M queries with rows [low, high) of a block, scores[M][kBlock], into weights of V, and prepares
// their states for them. Weights of other rows in the same vectors become zeros. weighed[m] false: nothing to weigh,
// every score is minus infinity or NaN. The queries' arithmetic goes side by side: that of one is a chain of waits.
template <int M>
inline void Weigh(const ScoreScale& scale, int64_t low, int64_t high, float* scores, const State& first, int64_t stride,
                  bool* weighed) {
  const int64_t begin = low / kLanes * kLanes;
  for (int m = 0; m < M; ++m) {
    scale.Cap(begin, high, scores + m * kBlock);
    MaskEnds(low, high, scores + m * kBlock);
  }
  const auto state_of = [&](int m) { return State{first.sum + m * stride, first.padded}; };
  float largest[M];
  LargestOf<M>(begin, high, scores, largest);
  bool more = false;
  for (int m = 0; m < M; ++m) {
    largest[m] *= scale.factor;
    more = more || largest[m] > state_of(m).largest() + kHeadroom;
  }
  if (more) {
    RaiseTo<M>(largest, first, stride);
  }
  const Vec factor = Set1(scale.factor);
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
    const State state = state_of(m);
    weighed[m] = !state.empty();
    if (!weighed[m]) {
      continue;
    }
    const Vec offset = Set1(-state.largest());
    Vec total = Load(state.totals());
    for (int64_t i = begin; i < high; i += kLanes) {
      float* const at = scores + m * kBlock + i;
      const Vec weight = Exp2(Fma(Load(at), factor, offset));
      Store(at, weight);
      total = Add(total, weight);
    }
    Store(state.totals(), total);
  }
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
