#include <cmath>
#include <numbers>

#include "kernels/ref/ref.h"

namespace causeway::kernels::ref {
namespace {

double ActivationOf(Activation activation, double x) {
  switch (activation) {
    case Activation::kSilu: return x / (1.0 + std::exp(-x));
    case Activation::kGelu: return 0.5 * x * (1.0 + std::erf(x / std::numbers::sqrt2));
    case Activation::kGeluTanh:  // Hendrycks and Gimpel 2016, the tanh form
      return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
    case Activation::kRelu: return x > 0 ? x : 0;
  }
  return x;
}

}  // namespace

void Rope(Stream&, const RopeArgs& args) {
  const int64_t half = args.rotary_dim / 2;
  for (int64_t m = 0; m < args.m; ++m) {
    for (int64_t head = 0; head < args.heads; ++head) {
      float* const x = args.x + m * args.x_stride + head * args.head_dim;
      for (int64_t i = 0; i < half; ++i) {
        const double cosine = args.cosine[m * half + i];
        const double sine = args.sine[m * half + i];
        const double low = x[i];
        const double high = x[half + i];
        x[i] = static_cast<float>(low * cosine - high * sine);
        x[half + i] = static_cast<float>(high * cosine + low * sine);
      }
    }
  }
}

void Activate(Stream&, const ActivationArgs& args) {
  for (int64_t m = 0; m < args.m; ++m) {
    for (int64_t i = 0; i < args.dim; ++i) {
      double value = ActivationOf(args.activation, args.gate[m * args.gate_stride + i]);
      if (args.up != nullptr) {
        value *= static_cast<double>(args.up[m * args.up_stride + i]);
      }
      args.y[m * args.y_stride + i] = static_cast<float>(value);
    }
  }
}

void AddScaled(Stream&, const AddScaledArgs& args) {
  for (int64_t m = 0; m < args.m; ++m) {
    for (int64_t i = 0; i < args.dim; ++i) {
      args.x[m * args.x_stride + i] += args.scale * args.y[m * args.y_stride + i];
    }
  }
}

void ScaleCap(Stream&, const ScaleCapArgs& args) {
  for (int64_t m = 0; m < args.m; ++m) {
    for (int64_t i = 0; i < args.dim; ++i) {
      double value = static_cast<double>(args.scale) * static_cast<double>(args.x[m * args.x_stride + i]);
      if (args.cap > 0) {
        value = static_cast<double>(args.cap) * std::tanh(value / static_cast<double>(args.cap));
      }
      args.x[m * args.x_stride + i] = static_cast<float>(value);
    }
  }
}

}  // namespace causeway::kernels::ref
