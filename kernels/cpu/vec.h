// The few vector operations that the op files are written in, once per instruction set. Each object file
// that includes this is compiled for one instruction set (CAUSEWAY_ISA names its namespace), and nothing
// in here has external linkage, so the linker cannot mix them.
//
// Vec holds kLanes float32. Reductions use one fixed tree. Loads and stores need no alignment.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/ops.h"

#if defined(CAUSEWAY_ISA_AVX512)
#include "kernels/cpu/vec_avx512.h"
#include "kernels/cpu/vec_avx512_reduce.h"
#elif defined(CAUSEWAY_ISA_AVX2)
#include "kernels/cpu/vec_avx2.h"
#elif defined(CAUSEWAY_ISA_NEON)
#include "kernels/cpu/vec_neon.h"
#else
#include "kernels/cpu/vec_scalar.h"
#endif

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

inline int64_t RoundUpToLanes(int64_t count) { return (count + kLanes - 1) / kLanes * kLanes; }

// The first `count` < kLanes values, zeros behind.
inline Vec LoadPart(const float* source, int64_t count) {
  float values[kLanes] = {};
  std::memcpy(values, source, static_cast<size_t>(count) * sizeof(float));
  return Load(values);
}

inline void StorePart(float* target, Vec v, int64_t count) {
  float values[kLanes];
  Store(values, v);
  std::memcpy(target, values, static_cast<size_t>(count) * sizeof(float));
}

// exp(x), relative error below 3e-7 in [-87, 88]; 0 below, finite above. Range reduction to
// [-ln2/2, ln2/2] with a two-part ln2, then a degree-6 polynomial (Cephes expf coefficients).
inline Vec Exp(Vec x) {
  const Vec floor_at = Set1(-87.33654F);
  const Vec clamped = Min(Max(x, floor_at), Set1(88.37626F));
  const Vec n = RoundNearest(Mul(clamped, Set1(1.44269504F)));
  Vec r = Fma(n, Set1(-0.693359375F), clamped);
  r = Fma(n, Set1(2.12194440e-4F), r);
  Vec p = Set1(1.9875691500e-4F);
  p = Fma(p, r, Set1(1.3981999507e-3F));
  p = Fma(p, r, Set1(8.3334519073e-3F));
  p = Fma(p, r, Set1(4.1665795894e-2F));
  p = Fma(p, r, Set1(1.6666665459e-1F));
  p = Fma(p, r, Set1(5.0000001201e-1F));
  const Vec y = Add(Fma(p, Mul(r, r), r), Set1(1.0F));
  return SelectLess(x, floor_at, Set1(0.0F), ScaleByPowerOfTwo(y, n));
}

// tanh(x) = 1 - 2 / (exp(2x) + 1); near zero the odd series, which keeps the relative error below 1e-6.
inline Vec Tanh(Vec x) {
  const Vec x2 = Mul(x, x);
  Vec series = Set1(-17.0F / 315.0F);
  series = Fma(series, x2, Set1(2.0F / 15.0F));
  series = Fma(series, x2, Set1(-1.0F / 3.0F));
  series = Fma(Mul(series, x2), x, x);
  const Vec e = Exp(Add(x, x));
  const Vec big = Sub(Set1(1.0F), Div(Set1(2.0F), Add(e, Set1(1.0F))));
  return SelectLess(x2, Set1(0.0121F), series, big);  // |x| < 0.11: the next term is below 2e-9 x
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
