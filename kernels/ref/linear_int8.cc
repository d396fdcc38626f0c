#include <cmath>
#include <vector>

#include "kernels/packed.h"
#include "kernels/quantized_x.h"
#include "kernels/ref/ref.h"

namespace causeway::kernels::ref {
namespace {

struct Group {
  XGroup x;
  int8_t codes[kGroup];
};

std::vector<Group> Quantize(const float* x, int64_t columns) {
  std::vector<Group> groups(static_cast<size_t>(columns / kGroup));
  for (Group& group : groups) {
    float maximum = 0.0F;
    bool finite = true;
    for (int64_t i = 0; i < kGroup; ++i) {
      finite = finite && std::isfinite(x[i]);
      maximum = std::fabs(x[i]) > maximum ? std::fabs(x[i]) : maximum;
    }
    const float inverse = InverseXScale(maximum, finite);
    int sums[2] = {};
    for (int64_t i = 0; i < kGroup; ++i) {
      group.codes[i] = static_cast<int8_t>(inverse == 0.0F ? 0.0F : std::nearbyint(x[i] * inverse));
      sums[i / (kGroup / 2)] += group.codes[i];
    }
    group.x = MakeXGroup(maximum, finite, sums[0], sums[1]);
    x += kGroup;
  }
  return groups;
}

}  // namespace

void LinearPanels(Stream& stream, const LinearArgs& args) {
  for (const LinearTarget& target : args.targets) {
    if (target.weight.layout != WeightLayout::kPanels) {
      continue;
    }
    std::vector<std::vector<Group>> x;
    for (int64_t m = 0; m < args.m; ++m) {
      x.push_back(Quantize(args.x + m * args.x_stride, target.weight.columns));
    }
    stream.pool.ParallelFor(target.weight.rows, [&](int64_t n, int) {
      std::vector<double> sums(static_cast<size_t>(args.m),
                               target.bias == nullptr ? 0.0 : static_cast<double>(target.bias[n]));
      for (int64_t g = 0; g < target.weight.columns / kGroup; ++g) {
        const UnpackedGroup weight = UnpackGroup(target.weight, n, g);
        for (size_t m = 0; m < sums.size(); ++m) {
          const Group& group = x[m][static_cast<size_t>(g)];
          int32_t dots[2] = {};
          for (int64_t k = 0; k < kGroup; ++k) {
            dots[k / (kGroup / 2)] += weight.codes[k] * group.codes[k];
          }
          const auto x_scale = static_cast<double>(group.x.scale);
          sums[m] += x_scale * (static_cast<double>(weight.scale) * dots[0] +
                                static_cast<double>(weight.second_scale) * dots[1]) -
                     static_cast<double>(weight.minimum) * static_cast<double>(ScaledSum(group.x));
        }
      }
      for (size_t m = 0; m < sums.size(); ++m) {
        target.y[static_cast<int64_t>(m) * target.y_stride + n] = static_cast<float>(sums[m]);
      }
    });
  }
}

}  // namespace causeway::kernels::ref
