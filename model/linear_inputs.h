// What a weight may want of its x before the kernel multiplies: columns in an order of its own (GPTQ's act-order),
// values rounded as its checkpoint says (W8A8, fp8). Done once for neighbouring targets that want the same. Each row on
// its own, so that a row's bits do not depend on its batch.
#pragma once

#include <span>
#include <vector>

#include "base/free_memory.h"
#include "kernels/ops.h"

namespace causeway::model {

// Rounds one row of x to codes and back, in float32. Of symmetric integers the scale is absmax / 127.5, codes are
// nearest even in [-128, 127]; of asymmetric ones it is the range / 255, and zero has a code of its own; of e4m3 it is
// absmax / 448. A stored scale, and code of zero, take the place of the run's. Source: compressed-tensors' quantize and
// dequantize (quantization/lifecycle/forward.py), calculate_qparams (quantization/utils/helpers.py).
void RoundInput(const kernels::InputRounding& rounding, std::span<float> row);

// Owned by one thread, as its buffer is. The ops outlive it.
class LinearInputs {
 public:
  explicit LinearInputs(const kernels::Ops& ops) : ops_(ops) {}

  // As ops.linear, and what weights have beside their base (WeightView::terms) on top of it. Allocates the first time
  // that so many rows meet a weight that wants something.
  void Run(kernels::Stream& stream, const kernels::LinearArgs& args);
  void Free() { FreeMemory(prepared_); }

 private:
  // Of weights that want something: x is there.
  void RunParts(kernels::Stream& stream, const kernels::LinearArgs& args);
  void Multiply(kernels::Stream& stream, const kernels::LinearArgs& args);
  void RunPrepared(kernels::Stream& stream, const kernels::LinearArgs& args);

  const kernels::Ops& ops_;
  std::vector<float> prepared_;  // [m, k]
};

}  // namespace causeway::model
