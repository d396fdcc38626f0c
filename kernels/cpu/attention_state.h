// Running softmax of attention's queries. Scores are scaled to powers of two, so that a weight is 2^(score - largest).
#pragma once

#include <limits>

#include "kernels/cpu/kv_transpose.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// 2^r for r in [-0.5, 0.5], relative error below 3e-7: a polynomial of degree 5 (minimax by Remez' exchange, of
// relative error 8e-8, then its constant set to one).
inline Vec Exp2Part(Vec r) {
  Vec p = Set1(1.327647245e-3F);
  p = Fma(p, r, Set1(9.675540961e-3F));
  p = Fma(p, r, Set1(5.550713092e-2F));
  p = Fma(p, r, Set1(2.402212024e-1F));
  p = Fma(p, r, Set1(6.931469440e-1F));
  return Fma(p, r, Set1(1.0F));
}

// 2^x for x below 128; 0 far below -126.
inline Vec Exp2(Vec x) {
#if defined(CAUSEWAY_ISA_AVX512) && !defined(CAUSEWAY_EMULATE_AVX512)
  // The instruction takes any exponent: to minus infinity it scales even the NaN that is left of x there to 0.
  const Vec n = RoundNearest(x);
  return _mm512_scalef_ps(Exp2Part(Sub(x, n)), n);
#else
  const Vec floor_at = Set1(-126.0F);
  const Vec clamped = Max(x, floor_at);
  const Vec n = RoundNearest(clamped);
  return SelectLess(x, floor_at, Zero(), ScaleByPowerOfTwo(Exp2Part(Sub(clamped, n)), n));
#endif
}

inline float Exp2Of(float x) {
  float lanes[kLanes];
  Store(lanes, Exp2(Set1(x)));
  return lanes[0];
}

// Running softmax of a query, in one slot of memory: the sum of V by weights relative to 2^largest [padded], the sum
// of the weights [kLanes], each lane's keys apart until the end, and `largest`, about the largest score: minus infinity
// while it is empty.
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
  // Weights become relative to 2^to, which is at least `largest`: times 2^(largest - to), `by`.
  void Raise(float to, float by) const {
    if (!empty()) {
      const Vec factor = Set1(by);
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
      Raise(part.largest(), Exp2Of(largest() - part.largest()));
    }
    const Vec factor = Set1(Exp2Of(part.largest() - largest()));
    for (int64_t i = 0; i < padded + kLanes; i += kLanes) {
      Store(sum + i, Fma(Load(part.sum + i), factor, Load(sum + i)));
    }
  }
};

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
