// The adapters of a step: which rows have which, and their terms beside a linear call.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/low_rank.h"
#include "model/adapter/adapter.h"

namespace causeway::model {

// Owned by one thread. In steady state nothing is allocated.
class AdapterBatch {
 public:
  void Clear();
  // Rows come in ascending order. Null: rows without one.
  void Add(const Adapter* adapter, int64_t first_row, int64_t rows);
  bool empty() const { return used_ == 0; }

  // One output of the linear call that was run before.
  struct Output {
    Slot slot;
    float* y;
    int64_t y_stride;
  };
  // Adds the terms of `layer` to the outputs, each row its own adapter's.
  void Apply(const kernels::Ops& ops, kernels::Stream& stream, int64_t layer, const float* x, int64_t x_stride,
             int64_t k, std::span<const Output> outputs);

 private:
  struct Rows {
    const Adapter* adapter = nullptr;
    std::vector<int32_t> rows;
  };

  std::vector<Rows> adapters_;  // the first `used_` are this step's; the others keep their memory
  size_t used_ = 0;
  std::vector<kernels::LowRankTerm> terms_;
  std::vector<kernels::LowRankSegment> segments_;
};

}  // namespace causeway::model
