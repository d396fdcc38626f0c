// Low-rank terms beside a linear call, y += scale * B (A x): LoRA adapters (Hu et al. 2021), each for the rows that use
// it, several in one batch. Source of the batched form: Punica (Chen et al. 2023).
//
// Solitary equality: a row's bits depend on that row and its own terms alone. A x is one chain of whole vectors over k,
// ascending, and a fixed tree; B u is one chain over the rank, ascending, added to y last.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/ops.h"

namespace causeway::kernels {

// Weights lie so that kernels read whole vectors of them: rows and columns are padded with zeros.
inline constexpr int64_t kLowRankColumns = 32;  // rows of a, and of b, are padded to a multiple of so many values
inline constexpr int64_t kLowRankRows = 4;      // a has a multiple of so many rows

struct LowRankTerm {
  const std::byte* a;                // [rank padded, a_stride], `format`
  const std::byte* b;                // B transposed: [rank, b_stride], `format`; kLowRankColumns can be read behind n
  FormatId format = FormatId::kF32;  // F32, F16 or BF16
  int64_t rank = 0;
  int64_t a_stride = 0;  // in values
  int64_t b_stride = 0;
  float scale = 1.0F;
  float* y = nullptr;  // [m, n]
  int64_t y_stride = 0;
  int64_t n = 0;
};

// Rows of the call, ascending, and what is added to them. Terms in a row with the same `a` share A x.
struct LowRankSegment {
  std::span<const int32_t> rows;
  std::span<const LowRankTerm> terms;
};

struct LowRankArgs {
  const float* x;  // [m, k]
  int64_t x_stride;
  int64_t k;
  std::span<const LowRankSegment> segments;  // no row is in two of them
};

}  // namespace causeway::kernels
