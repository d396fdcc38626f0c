#include "model/linear_inputs.h"

#include <algorithm>
#include <cmath>

#include "kernels/rows_op.h"

namespace causeway::model {
namespace {

using kernels::InputRounding;
using kernels::WeightView;

bool WantTheSame(const WeightView& a, const WeightView& b) {
  return a.column_order == b.column_order &&
         (a.input_rounding == b.input_rounding ||
          (a.input_rounding != nullptr && b.input_rounding != nullptr && *a.input_rounding == *b.input_rounding));
}

// To the nearest e4m3 number, ties to the even one, at most 448 in magnitude.
float NearestE4M3(float x) {
  constexpr float kLargest = 448.0F;
  constexpr int kLeastExponent = -6;
  const float magnitude = std::min(std::fabs(x), kLargest);
  const int exponent = std::max(magnitude > 0.0F ? std::ilogb(magnitude) : kLeastExponent, kLeastExponent);
  const float step = std::ldexp(1.0F, exponent - 3);
  return std::copysign(std::nearbyint(magnitude / step) * step, x);
}

// Of a run, as the largest codes are reached by its largest magnitude or by the ends of its range.
struct ScaleAndZero {
  float scale;  // 0: all values are 0
  float zero;
};

ScaleAndZero FitRun(const InputRounding& rounding, std::span<const float> run) {
  float low = 0.0F;
  float high = 0.0F;
  for (const float value : run) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  if (!rounding.symmetric) {
    const float scale = (high - low) / 255.0F;
    return {scale, scale == 0.0F ? 0.0F : std::nearbyint(std::clamp(-128.0F - low / scale, -128.0F, 127.0F))};
  }
  return {std::max(-low, high) / (rounding.code == InputRounding::Code::kInt8 ? 127.5F : 448.0F), 0.0F};
}

void RoundRun(const InputRounding& rounding, std::span<float> run) {
  const auto [scale, zero] =
      rounding.scale == 0.0F ? FitRun(rounding, run) : ScaleAndZero{rounding.scale, rounding.zero};
  if (scale == 0.0F) {
    return;
  }
  const bool integers = rounding.code == InputRounding::Code::kInt8;
  for (float& value : run) {
    const float scaled = value / scale;
    value =
        (integers ? std::clamp(std::nearbyint(scaled + zero), -128.0F, 127.0F) - zero : NearestE4M3(scaled)) * scale;
  }
}

}  // namespace

void RoundInput(const InputRounding& rounding, std::span<float> row) {
  const size_t run = rounding.run == 0 ? row.size() : static_cast<size_t>(rounding.run);
  for (size_t at = 0; at < row.size(); at += run) {
    RoundRun(rounding, row.subspan(at, std::min(run, row.size() - at)));
  }
}

void LinearInputs::Run(kernels::Stream& stream, const kernels::LinearArgs& args) {
  const auto plain = [](const kernels::LinearTarget& target) {
    const WeightView& weight = target.weight;
    return weight.column_order == nullptr && weight.input_rounding == nullptr && weight.terms.empty();
  };
  if (std::all_of(args.targets.begin(), args.targets.end(), plain)) {
    return ops_.linear(stream, args);
  }
  kernels::LinearArgs with_x = args;
  if (args.made_by != nullptr) {
    kernels::MakeRows(ops_, stream, *args.made_by);
    with_x.made_by = nullptr;
  }
  RunParts(stream, with_x);
}

void LinearInputs::RunParts(kernels::Stream& stream, const kernels::LinearArgs& args) {
  for (size_t begin = 0; begin < args.targets.size();) {
    const WeightView& first = args.targets[begin].weight;
    size_t end = begin + 1;
    while (end < args.targets.size() && WantTheSame(first, args.targets[end].weight)) {
      ++end;
    }
    kernels::LinearArgs part = args;
    part.targets = args.targets.subspan(begin, end - begin);
    if (first.column_order == nullptr && first.input_rounding == nullptr) {
      Multiply(stream, part);
    } else {
      RunPrepared(stream, part);
    }
    begin = end;
  }
}

void LinearInputs::Multiply(kernels::Stream& stream, const kernels::LinearArgs& args) {
  ops_.linear(stream, args);
  for (const kernels::LinearTarget& target : args.targets) {
    for (const kernels::WeightTerm& term : target.weight.terms) {
      const auto& sparse = std::get<kernels::SparseRows>(term);
      ops_.sparse(stream, {.weight = {sparse.offsets + target.weight.first_term_row, sparse.entries},
                           .rows = target.weight.rows,
                           .columns = target.weight.columns,
                           .x = args.x,
                           .x_stride = args.x_stride,
                           .m = args.m,
                           .y = target.y,
                           .y_stride = target.y_stride});
    }
  }
}

void LinearInputs::RunPrepared(kernels::Stream& stream, const kernels::LinearArgs& args) {
  const WeightView& weight = args.targets[0].weight;
  const auto columns = static_cast<size_t>(weight.columns);
  prepared_.resize(std::max(prepared_.size(), static_cast<size_t>(args.m) * columns));
  stream.pool.ParallelFor(args.m, [&](int64_t row, int) {
    const float* const source = args.x + row * args.x_stride;
    const auto target = std::span(prepared_).subspan(static_cast<size_t>(row) * columns, columns);
    std::copy_n(source, columns, target.begin());
    if (weight.input_rounding != nullptr) {
      RoundInput(*weight.input_rounding, target);
    }
    if (weight.column_order == nullptr) {
      return;
    }
    thread_local std::vector<float> plain;  // rounded, not yet in order
    plain.assign(target.begin(), target.end());
    for (size_t i = 0; i < columns; ++i) {
      target[i] = plain[static_cast<size_t>(weight.column_order[i])];
    }
  });
  kernels::LinearArgs prepared = args;
  prepared.x = prepared_.data();
  prepared.x_stride = weight.columns;
  Multiply(stream, prepared);
}

}  // namespace causeway::model
