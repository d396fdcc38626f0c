// One tensor of a plan to the bytes of its parts.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/ops.h"
#include "model/quantize/gptq.h"
#include "model/quantize/plan.h"

namespace causeway::model::quantize {

struct Encoded {
  std::vector<std::vector<std::byte>> parts;  // as TensorPlan::parts
  double squared_error = 0;
  double squared_norm = 0;
  std::vector<float> values;  // of EncodeByGptq: what the weight became, [rows, columns]
};

// Floats as they are, or rounded to the plan's type.
Encoded EncodeFloats(const TensorPlan& plan, ThreadPool& pool);
// Each value to the nearest. importance: by column; empty: equal.
Encoded EncodeNearest(TensorPlan& plan, std::span<const float> importance, ThreadPool& pool);
Encoded EncodeByGptq(TensorPlan& plan, const GptqFactor& factor, const kernels::Ops& ops, kernels::Stream& stream);

}  // namespace causeway::model::quantize
