#include <cmath>

#include "kernels/ref/ref.h"

namespace causeway::kernels::ref {

void RmsNorm(Stream&, const RmsNormArgs& args) {
  for (int64_t m = 0; m < args.m; ++m) {
    for (int64_t group = 0; group < args.groups; ++group) {
      const float* const x = args.x + m * args.x_stride + group * args.dim;
      float* const y = args.y + m * args.y_stride + group * args.dim;
      double squares = 0;
      for (int64_t i = 0; i < args.dim; ++i) {
        squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
      }
      const double scale = 1.0 / std::sqrt(squares / static_cast<double>(args.dim) + static_cast<double>(args.eps));
      for (int64_t i = 0; i < args.dim; ++i) {
        y[i] = static_cast<float>(static_cast<double>(x[i]) * scale * static_cast<double>(args.weight[i]));
      }
    }
  }
}

void LayerNorm(Stream&, const LayerNormArgs& args) {
  for (int64_t m = 0; m < args.m; ++m) {
    const float* const x = args.x + m * args.x_stride;
    float* const y = args.y + m * args.y_stride;
    double sum = 0;
    for (int64_t i = 0; i < args.dim; ++i) {
      sum += static_cast<double>(x[i]);
    }
    const double mean = sum / static_cast<double>(args.dim);
    double squares = 0;
    for (int64_t i = 0; i < args.dim; ++i) {
      const double centred = static_cast<double>(x[i]) - mean;
      squares += centred * centred;
    }
    const double scale = 1.0 / std::sqrt(squares / static_cast<double>(args.dim) + static_cast<double>(args.eps));
    for (int64_t i = 0; i < args.dim; ++i) {
      const double value = (static_cast<double>(x[i]) - mean) * scale * static_cast<double>(args.weight[i]);
      const double bias = args.bias != nullptr ? static_cast<double>(args.bias[i]) : 0.0;
      y[i] = static_cast<float>(value + bias);
    }
  }
}

}  // namespace causeway::kernels::ref
