// The register tile that linear and attention are made of: M rows of x times N rows of w, each output in
// one vector accumulator with lanes along k. The bits of an output depend on its own two rows only, so a
// tile of any shape gives the same ones.
#pragma once

#include "kernels/cpu/vec.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

// sums[m][n] = sum over k of x[m][k] * w[n][k]; k is a multiple of kLanes. w(n, i) is the vector at w[n][i].
template <int M, int N, typename W>
inline __attribute__((always_inline)) void TileOf(const float* x, int64_t x_stride, const W& w, int64_t k,
                                                  float sums[M][N]) {
  Vec acc[M][N];
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 16
    for (int n = 0; n < N; ++n) {
      acc[m][n] = Zero();
    }
  }
  for (int64_t i = 0; i < k; i += kLanes) {
    Vec xs[M];
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
      xs[m] = Load(x + m * x_stride + i);
    }
#pragma GCC unroll 16
    for (int n = 0; n < N; ++n) {
      const Vec ws = w(n, i);
#pragma GCC unroll 16
      for (int m = 0; m < M; ++m) {
        acc[m][n] = Fma(xs[m], ws, acc[m][n]);
      }
    }
  }
#if defined(CAUSEWAY_ISA_AVX512)
  if constexpr (M * N == 16) {
    Vec all[4][4];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      all[i / 4][i % 4] = acc[i / N][i % N];
    }
    return ReduceAdd4x4(all, &sums[0][0]);
  }
#endif
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m) {
    if constexpr (N % 4 == 0) {
      for (int n = 0; n < N; n += 4) {
        ReduceAdd4(&acc[m][n], &sums[m][n]);
      }
    } else {
      for (int n = 0; n < N; ++n) {
        sums[m][n] = ReduceAdd(acc[m][n]);
      }
    }
  }
}

// The same for rows of float32 in memory.
template <int M, int N>
inline __attribute__((always_inline)) void Tile(const float* x, int64_t x_stride, const float* w, int64_t w_stride,
                                                int64_t k, float sums[M][N]) {
  TileOf<M, N>(
      x, x_stride, [=](int64_t n, int64_t i) { return Load(w + n * w_stride + i); }, k, sums);
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
