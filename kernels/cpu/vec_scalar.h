// Plain C++: four lanes in an array, for machines without AVX2. Included by vec.h only.
#pragma once

#include <bit>
#include <cmath>

#include "kernels/quant/float16.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr int kLanes = 4;
struct Vec {
  float v[kLanes];
};

template <typename F>
inline Vec Each(F f) {
  Vec r;
  for (int i = 0; i < kLanes; ++i) {
    r.v[i] = f(i);
  }
  return r;
}

inline Vec Load(const float* p) {
  return Each([&](int i) { return p[i]; });
}
inline void Store(float* p, Vec v) { std::memcpy(p, v.v, sizeof(v.v)); }
inline Vec Set1(float x) {
  return Each([&](int) { return x; });
}
inline Vec Zero() { return Set1(0.0F); }
inline Vec Add(Vec a, Vec b) {
  return Each([&](int i) { return a.v[i] + b.v[i]; });
}
inline Vec Sub(Vec a, Vec b) {
  return Each([&](int i) { return a.v[i] - b.v[i]; });
}
inline Vec Mul(Vec a, Vec b) {
  return Each([&](int i) { return a.v[i] * b.v[i]; });
}
inline Vec Div(Vec a, Vec b) {
  return Each([&](int i) { return a.v[i] / b.v[i]; });
}
inline Vec Max(Vec a, Vec b) {
  return Each([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
inline Vec Min(Vec a, Vec b) {
  return Each([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
// a * b + c, rounded twice: a machine without FMA would need a library call to round once.
inline Vec Fma(Vec a, Vec b, Vec c) { return Add(Mul(a, b), c); }
inline Vec RoundNearest(Vec a) {
  return Each([&](int i) { return std::nearbyint(a.v[i]); });
}
// a < b ? x : y
inline Vec SelectLess(Vec a, Vec b, Vec x, Vec y) {
  return Each([&](int i) { return a.v[i] < b.v[i] ? x.v[i] : y.v[i]; });
}
// v * 2^n for whole n in [-126, 127].
inline Vec ScaleByPowerOfTwo(Vec v, Vec n) {
  return Each([&](int i) {
    const auto exponent = static_cast<uint32_t>(static_cast<int32_t>(n.v[i]) + 127);
    return v.v[i] * std::bit_cast<float>(exponent << 23);
  });
}
inline float ReduceAdd(Vec v) { return (v.v[0] + v.v[2]) + (v.v[1] + v.v[3]); }
inline float ReduceMax(Vec v) {
  const float a = v.v[0] > v.v[2] ? v.v[0] : v.v[2];
  const float b = v.v[1] > v.v[3] ? v.v[1] : v.v[3];
  return a > b ? a : b;
}
inline void ReduceAdd4(const Vec v[4], float sums[4]) {
  for (int i = 0; i < 4; ++i) {
    sums[i] = ReduceAdd(v[i]);
  }
}
// maxima[i] = ReduceMax(v[i])
inline void ReduceMax4(const Vec v[4], float maxima[4]) {
  for (int i = 0; i < 4; ++i) {
    maxima[i] = ReduceMax(v[i]);
  }
}
// sums[4 * n + m] = ReduceAdd(v[n][m])
inline void ReduceAdd4Columns(const Vec (&v)[3][4], float* sums) {
  for (int n = 0; n < 3; ++n) {
    ReduceAdd4(v[n], sums + 4 * n);
  }
}

inline uint16_t HalfAt(const std::byte* p, int64_t i) {
  uint16_t half;
  std::memcpy(&half, p + 2 * i, sizeof(half));
  return half;
}
inline Vec LoadF16(const std::byte* p) {
  return Each([&](int i) { return HalfToFloat(HalfAt(p, i)); });
}
inline Vec LoadBF16(const std::byte* p) {
  return Each([&](int i) { return BFloatToFloat(HalfAt(p, i)); });
}
inline Vec LoadBF16Even(const std::byte* p) {
  return Each([&](int i) { return BFloatToFloat(HalfAt(p, 2 * i)); });
}
inline Vec LoadBF16Odd(const std::byte* p) {
  return Each([&](int i) { return BFloatToFloat(HalfAt(p, 2 * i + 1)); });
}
inline void Deinterleave(const float* p, Vec& even, Vec& odd) {
  even = Each([&](int i) { return p[2 * i]; });
  odd = Each([&](int i) { return p[2 * i + 1]; });
}
inline void StoreF16(std::byte* p, Vec v) {
  for (int i = 0; i < kLanes; ++i) {
    const uint16_t half = FloatToHalf(v.v[i]);
    std::memcpy(p + 2 * i, &half, sizeof(half));
  }
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
