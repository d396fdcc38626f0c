#include <cmath>
#include <vector>

#include "kernels/packed.h"
#include "kernels/quantized_x.h"
#include "kernels/ref/ref.h"

namespace causeway::kernels::ref {
namespace {

struct Row {
  std::vector<int8_t> codes;
  std::vector<float> scales;  // of as many values as share one
};

Row Quantize(const float* x, int64_t columns, int64_t group) {
  Row row;
  for (int64_t first = 0; first < columns; first += group) {
    float maximum = 0.0F;
    bool finite = true;
    for (int64_t i = first; i < first + group; ++i) {
      finite = finite && std::isfinite(x[i]);
      maximum = std::fabs(x[i]) > maximum ? std::fabs(x[i]) : maximum;
    }
    const float inverse = InverseXScale(maximum, finite);
    for (int64_t i = first; i < first + group; ++i) {
      row.codes.push_back(static_cast<int8_t>(inverse == 0.0F ? 0.0F : std::nearbyint(x[i] * inverse)));
    }
    row.scales.push_back(XScale(maximum, finite));
  }
  return row;
}

// A group of 32 of a weight times its part of x.
double Dot(const UnpackedGroup& weight, const int8_t* codes, double x_scale) {
  double sum = 0.0;
  for (int half = 0; half < 2; ++half) {
    int32_t dot = 0;
    int32_t total = 0;
    for (int64_t k = half * kGroup / 2; k < (half + 1) * kGroup / 2; ++k) {
      dot += weight.codes[k] * codes[k];
      total += codes[k];
    }
    sum +=
        x_scale * (static_cast<double>(weight.scales[half]) * dot - static_cast<double>(weight.minima[half]) * total);
  }
  return sum;
}

}  // namespace

void LinearPanels(Stream& stream, const LinearArgs& args) {
  for (const LinearTarget& target : args.targets) {
    if (target.weight.layout != WeightLayout::kPanels) {
      continue;
    }
    const int64_t x_group = XShapeOf(PackingOf(target.weight.format)).scale_values();
    std::vector<Row> x;
    for (int64_t m = 0; m < args.m; ++m) {
      x.push_back(Quantize(args.x + m * args.x_stride, target.weight.columns, x_group));
    }
    stream.pool.ParallelFor(target.weight.rows, [&](int64_t n, int) {
      std::vector<double> sums(static_cast<size_t>(args.m),
                               target.bias == nullptr ? 0.0 : static_cast<double>(target.bias[n]));
      for (int64_t g = 0; g < target.weight.columns / kGroup; ++g) {
        const UnpackedGroup weight = UnpackGroup(target.weight, n, g);
        for (size_t m = 0; m < sums.size(); ++m) {
          const double x_scale = static_cast<double>(x[m].scales[static_cast<size_t>(g * kGroup / x_group)]);
          sums[m] += Dot(weight, x[m].codes.data() + g * kGroup, x_scale);
        }
      }
      for (size_t m = 0; m < sums.size(); ++m) {
        target.y[static_cast<int64_t>(m) * target.y_stride + n] = static_cast<float>(sums[m]);
      }
    });
  }
}

}  // namespace causeway::kernels::ref
