// Linear layers whose weights may store their columns in an order of their own (GPTQ's act-order): x is brought into
// that order first, once for neighbouring targets that share it. Copies only, so that the bits stay those of the
// kernel.
#pragma once

#include <vector>

#include "kernels/ops.h"

namespace causeway::model {

// Owned by one thread, as its buffer is. The ops outlive it.
class OrderedLinear {
 public:
  explicit OrderedLinear(const kernels::Ops& ops) : ops_(ops) {}

  // As ops.linear. Allocates the first time that so many rows meet such a weight.
  void Run(kernels::Stream& stream, const kernels::LinearArgs& args);
  void Free() { gathered_ = {}; }

 private:
  void RunGathered(kernels::Stream& stream, const kernels::LinearArgs& args);

  const kernels::Ops& ops_;
  std::vector<float> gathered_;  // [m, k]
};

}  // namespace causeway::model
