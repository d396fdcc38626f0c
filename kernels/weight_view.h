// A weight as the kernels and those who prepare their inputs see it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/quant/format.h"
#include "kernels/weight_term.h"

namespace causeway::kernels {

// How a checkpoint wants the inputs of a layer rounded to 8 bits and back.
struct InputRounding {
  enum class Code : uint8_t { kInt8, kE4M3 };
  Code code = Code::kInt8;
  int64_t run = 0;        // columns that share a scale; 0: the row
  float scale = 0.0F;     // of all inputs; 0: from the values of each run
  bool symmetric = true;  // about zero; false, of kInt8: over the range of the run, in which zero always lies
  float zero = 0.0F;      // the code of zero that belongs to `scale`, where not symmetric

  bool operator==(const InputRounding&) const = default;
};

// How a weight's numbers lie. What they mean is its format's matter, and which kernel multiplies them the table's.
enum class WeightLayout : uint8_t {
  kRows,    // as in the file: rows contiguous at row_bytes
  kPanels,  // repacked for integer arithmetic (kernels/packed.h); linear then quantizes x too (kernels/quantized_x.h)
};

// A matrix: [rows, columns]. For a linear layer rows are output features. In rows, data may be an mmap of the file, so
// it is only as aligned as its element type; panels are 64-byte aligned and have no row_bytes. Only linear takes
// panels.
struct WeightView {
  const std::byte* data = nullptr;
  FormatId format = FormatId::kF32;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t row_bytes = 0;
  // What x is to be before a kernel sees it (model/linear_inputs.h). [columns]: stored column i multiplies
  // x[column_order[i]]; null: x[i].
  const int32_t* column_order = nullptr;
  const InputRounding* input_rounding = nullptr;  // null: none
  WeightLayout layout = WeightLayout::kRows;
  // Added to the base: columns as stored, rows from `first_term_row` on. Linear knows none of them.
  std::span<const WeightTerm> terms = {};
  int64_t first_term_row = 0;
};

}  // namespace causeway::kernels
