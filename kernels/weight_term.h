// What a weight may have beside its base rows: terms of a sum. Linear computes the base, an op of its own each term.
#pragma once

#include <cstdint>
#include <variant>

namespace causeway::kernels {

// One value of a sparse matrix: 4 bytes, as SpQR stores it.
struct SparseEntry {
  uint16_t column;
  uint16_t half;  // the value, in half precision
};
inline constexpr int64_t kMaxSparseColumns = int64_t{1} << 16;

// A matrix that is zero but for a few values: row n has entries[offsets[n]] up to entries[offsets[n + 1]], in ascending
// columns.
struct SparseRows {
  const uint32_t* offsets = nullptr;  // [rows + 1]
  const SparseEntry* entries = nullptr;
};

// What a weight has beside its base rows; the weight is the sum. A new kind is an alternative here, an op in ops.h, and
// a case in model/linear_inputs.cc.
using WeightTerm = std::variant<SparseRows>;

// y += x S^T, the sparse term of a weight on top of what linear gave: each element the sum of its row's products in
// ascending columns, multiplied and added in float32 one by one in every table.
struct SparseArgs {
  SparseRows weight;  // from the first of `rows` rows on
  int64_t rows;
  int64_t columns;
  const float* x;  // [m, columns]
  int64_t x_stride;
  int64_t m;
  float* y;  // [m, rows]
  int64_t y_stride;
};

}  // namespace causeway::kernels
