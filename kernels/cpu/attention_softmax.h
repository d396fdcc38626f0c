// The softmax part of attention over one block: scores of a query to weights of V. Scores are scaled to powers of two,
// so that a weight is 2^(score - largest).
#pragma once

#include <limits>

#include "kernels/cpu/kv_transpose.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr double kLog2OfE = 1.4426950408889634;
constexpr float kLaneNumbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// 2^x, relative error below 3e-7 in [-126, 127]; 0 below. A polynomial of degree 5 in what rounding leaves of x
// (minimax by Remez' exchange, of relative error 8e-8, then its constant set to one).
inline Vec Exp2(Vec x) {
  const Vec floor_at = Set1(-126.0F);
  const Vec clamped = Max(x, floor_at);
  const Vec n = RoundNearest(clamped);
  const Vec r = Sub(clamped, n);
  Vec p = Set1(1.327647245e-3F);
  p = Fma(p, r, Set1(9.675540961e-3F));
  p = Fma(p, r, Set1(5.550713092e-2F));
  p = Fma(p, r, Set1(2.402212024e-1F));
  p = Fma(p, r, Set1(6.931469440e-1F));
  p = Fma(p, r, Set1(1.0F));
  return SelectLess(x, floor_at, Zero(), ScaleByPowerOfTwo(p, n));
}

inline float Exp2Of(float x) {
  float lanes[kLanes];
  Store(lanes, Exp2(Set1(x)));
  return lanes[0];
}

// How a product of a query and a key becomes a score.
struct ScoreScale {
  float factor;  // to powers of two
  float cap;     // > 0: score = cap * tanh(inner * product)
  float inner;

  explicit ScoreScale(const AttentionArgs& args)
      : factor(static_cast<float>(static_cast<double>(args.scale) * kLog2OfE)),
        cap(static_cast<float>(static_cast<double>(args.softcap) * kLog2OfE)),
        inner(args.softcap > 0 ? args.scale / args.softcap : 0.0F) {}

  Vec operator()(Vec product) const {
    return cap > 0 ? Mul(Set1(cap), Tanh(Mul(product, Set1(inner)))) : Mul(product, Set1(factor));
  }
};

// Running softmax of a query, in one slot of memory: the sum of V by weights relative to 2^largest [padded], the sum
// of the weights [kLanes], each lane's keys apart until the end, and `largest`: minus infinity while it is empty.
struct State {
  float* sum;
  int64_t padded;  // head_dim up to whole vectors

  static int64_t Floats(int64_t padded) { return padded + 2 * kLanes; }

  float* totals() const { return sum + padded; }
  float& largest() const { return sum[padded + kLanes]; }
  bool empty() const { return largest() == kMinusInfinity; }

  void Clear() const {
    std::memset(sum, 0, static_cast<size_t>(padded + kLanes) * sizeof(float));
    largest() = kMinusInfinity;
  }
  // Weights become relative to 2^to, which is at least `largest`.
  void Raise(float to) const {
    if (!empty()) {
      const Vec factor = Set1(Exp2Of(largest() - to));
      for (int64_t i = 0; i < padded + kLanes; i += kLanes) {
        Store(sum + i, Mul(Load(sum + i), factor));
      }
    }
    largest() = to;
  }
  // This one merged with `part`, which lies behind it.
  void Merge(const State& part) const {
    if (part.empty()) {
      return;
    }
    if (part.largest() > largest()) {
      Raise(part.largest());
    }
    const Vec factor = Set1(Exp2Of(part.largest() - largest()));
    for (int64_t i = 0; i < padded + kLanes; i += kLanes) {
      Store(sum + i, Fma(Load(part.sum + i), factor, Load(sum + i)));
    }
  }
};

// Turns a query's products with rows [low, high) of a block into weights of V and prepares its state for them. False:
// nothing to weigh, every score is minus infinity or NaN. Weights of other rows in the same vectors become zeros.
inline bool Weigh(const ScoreScale& scale, int64_t low, int64_t high, float* scores, const State& state) {
  const int64_t begin = low / kLanes * kLanes;
  const bool masked = low % kLanes != 0 || high % kLanes != 0;
  Vec largest = Set1(kMinusInfinity);
  for (int64_t i = begin; i < high; i += kLanes) {
    Vec s = scale(Load(scores + i));
    if (masked) {
      const Vec row = Add(Load(kLaneNumbers), Set1(static_cast<float>(i)));
      s = SelectLess(row, Set1(static_cast<float>(high)), s, Set1(kMinusInfinity));
      s = SelectLess(row, Set1(static_cast<float>(low)), Set1(kMinusInfinity), s);
    }
    Store(scores + i, s);
    largest = Max(largest, s);
  }
  const float block_largest = ReduceMax(largest);
  if (block_largest > state.largest()) {
    state.Raise(block_largest);
  }
  if (state.empty()) {
    return false;
  }
  const Vec relative = Set1(state.largest());
  Vec total = Load(state.totals());
  for (int64_t i = begin; i < high; i += kLanes) {
    const Vec weight = Exp2(Sub(Load(scores + i), relative));
    Store(scores + i, weight);
    total = Add(total, weight);
  }
  Store(state.totals(), total);
  return true;
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
