#include "model/ordered_linear.h"

#include <algorithm>

namespace causeway::model {

void OrderedLinear::Run(kernels::Stream& stream, const kernels::LinearArgs& args) {
  const auto order_of = [&](size_t target) { return args.targets[target].weight.column_order; };
  for (size_t begin = 0; begin < args.targets.size();) {
    size_t end = begin + 1;
    while (end < args.targets.size() && order_of(end) == order_of(begin)) {
      ++end;
    }
    kernels::LinearArgs part = args;
    part.targets = args.targets.subspan(begin, end - begin);
    if (order_of(begin) == nullptr) {
      ops_.linear(stream, part);
    } else {
      RunGathered(stream, part);
    }
    begin = end;
  }
}

void OrderedLinear::RunGathered(kernels::Stream& stream, const kernels::LinearArgs& args) {
  const kernels::WeightView& weight = args.targets[0].weight;
  const auto columns = static_cast<size_t>(weight.columns);
  gathered_.resize(std::max(gathered_.size(), static_cast<size_t>(args.m) * columns));
  stream.pool.ParallelFor(args.m, [&](int64_t row, int) {
    const float* const source = args.x + row * args.x_stride;
    float* const target = gathered_.data() + static_cast<size_t>(row) * columns;
    for (size_t i = 0; i < columns; ++i) {
      target[i] = source[weight.column_order[i]];
    }
  });
  kernels::LinearArgs ordered = args;
  ordered.x = gathered_.data();
  ordered.x_stride = weight.columns;
  ops_.linear(stream, ordered);
}

}  // namespace causeway::model
