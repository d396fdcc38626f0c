// GPTQ: rounds the columns of a weight one after the other and lets those still to come make up for what was lost, so
// that the layer's outputs, not its weights, stay close. Source: Frantar et al. 2022 (arXiv 2210.17323).
//
// With H = sum of x xT over calibration inputs, columns in processing order, H = MT D^2 M with M unit lower triangular.
// Once columns s < t are rounded, with d_s = w_s - q_s, the best value of column t is w_t + sum over s of d_s M[t][s],
// and rounding it to q_t adds D[t]^2 (w_t' - q_t)^2 to the error. So H is factored once, and nothing is inverted.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "kernels/ops.h"
#include "model/quantize/codec.h"

namespace causeway::model::quantize {

// Sums of products of a linear layer's inputs.
struct Hessian {
  int64_t size = 0;         // columns
  std::vector<float> sums;  // [size, size], symmetric
  int64_t rows = 0;         // inputs seen
};

struct GptqOptions {
  double damping = 0.01;   // added to the diagonal, as a share of its mean
  bool act_order = false;  // columns by falling diagonal; scales are then those of the weights as they were
};

// What is needed of a Hessian to round any weight that reads these inputs. Const.
struct GptqFactor {
  std::vector<int64_t> order;     // column order[t] is the t-th
  std::vector<float> m;           // [size, size]: M, in processing order
  std::vector<float> importance;  // by column: D^2, scaled to a mean of 1
  bool act_order = false;
};

// Runs on the stream's pool. kFailedPrecondition for inputs that are not finite.
Result<GptqFactor> Factorize(const Hessian& hessian, const GptqOptions& options, const kernels::Ops& ops,
                             kernels::Stream& stream);

// A weight, rounded.
struct Rounded {
  std::vector<kernels::BlockGrid> grids;  // [rows, blocks]
  std::vector<int32_t> codes;             // [rows, columns]
};

// weights: [rows, columns], replaced by what they were rounded to.
Rounded RoundWithFactor(std::span<float> weights, int64_t rows, const GptqFactor& factor, const Codec& codec,
                        const kernels::Ops& ops, kernels::Stream& stream);

}  // namespace causeway::model::quantize
