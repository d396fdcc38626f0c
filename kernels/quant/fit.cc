#include "kernels/quant/fit.h"

#include <algorithm>
#include <cmath>

namespace causeway::kernels {
namespace {

constexpr int kSteps = 18;  // on either side of the plain scale, a tenth of a code each
constexpr float kStep = 0.1F;

float LargestByMagnitude(std::span<const float> x) {
  float largest = 0.0F;
  for (const float value : x) {
    largest = std::fabs(value) > std::fabs(largest) ? value : largest;
  }
  return largest;
}

// For given codes the best scale is sum(x q) / sum(q q), and it takes sum(x q)^2 / sum(q q) off the squared error.
struct Projected {
  double xq = 0;
  double qq = 0;

  void Add(float x, int q) {
    xq += static_cast<double>(x) * q;
    qq += static_cast<double>(q) * q;
  }
  double gain() const { return qq > 0 ? xq * xq / qq : 0; }
  float scale() const { return qq > 0 ? static_cast<float>(xq / qq) : 0.0F; }
};

// Tries scales about largest / edge and keeps the one whose codes take off most. `code` maps x / scale to what the
// scale is multiplied with.
template <typename Code>
float BestScale(std::span<const float> x, float largest, float edge, Code code) {
  double best_gain = 0;
  float best = 0.0F;
  for (int step = -kSteps; step <= kSteps; ++step) {
    const float inverse = (edge + kStep * static_cast<float>(step)) / largest;
    if (inverse == 0.0F || !std::isfinite(inverse)) {
      continue;
    }
    Projected projected;
    for (const float value : x) {
      projected.Add(value, code(value * inverse));
    }
    if (projected.gain() > best_gain) {
      best_gain = projected.gain();
      best = projected.scale();
    }
  }
  return best;
}

// Least squares of x = scale * q - minimum over given codes; false if the codes are all the same.
bool SolveAffine(std::span<const float> x, std::span<const uint8_t> codes, AffineFit& fit) {
  double sum_q = 0, sum_qq = 0, sum_x = 0, sum_xq = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double q = codes[i];
    sum_q += q;
    sum_qq += q * q;
    sum_x += static_cast<double>(x[i]);
    sum_xq += static_cast<double>(x[i]) * q;
  }
  const auto n = static_cast<double>(x.size());
  const double determinant = n * sum_qq - sum_q * sum_q;
  if (!(determinant > 0)) {
    return false;
  }
  double scale = (n * sum_xq - sum_x * sum_q) / determinant;
  double low = (sum_qq * sum_x - sum_q * sum_xq) / determinant;
  if (low > 0) {  // the minimum cannot be negative
    low = 0;
    scale = sum_xq / sum_qq;
  }
  fit = {static_cast<float>(scale), static_cast<float>(-low)};
  return scale > 0;
}

double AffineError(std::span<const float> x, std::span<const uint8_t> codes, const AffineFit& fit) {
  double error = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double difference =
        static_cast<double>(fit.scale) * codes[i] - static_cast<double>(fit.minimum) - static_cast<double>(x[i]);
    error += difference * difference;
  }
  return error;
}

}  // namespace

int NearestCode(float x, int low, int high) {
  const float rounded = std::nearbyint(x);
  return rounded > static_cast<float>(low) ? static_cast<int>(std::min(rounded, static_cast<float>(high))) : low;
}

float FitScale(std::span<const float> x, int low, int high) {
  const float largest = LargestByMagnitude(x);
  return largest == 0.0F ? 0.0F : BestScale(x, largest, static_cast<float>(low), [&](float value) {
    return NearestCode(value, low, high);
  });
}

AffineFit FitAffine(std::span<const float> x, int high) {
  const auto [lowest, highest] = std::minmax_element(x.begin(), x.end());
  const float low = std::min(*lowest, 0.0F);
  if (!(*highest > low)) {
    return {0.0F, -low};
  }
  AffineFit best{(*highest - low) / static_cast<float>(high), -low};
  double best_error = INFINITY;
  uint8_t codes[256];
  const std::span<uint8_t> used(codes, x.size());
  for (int step = -kSteps / 2; step <= kSteps; ++step) {
    const float inverse = (static_cast<float>(high) + kStep * static_cast<float>(step)) / (*highest - low);
    if (!(inverse > 0.0F) || !std::isfinite(inverse)) {
      continue;
    }
    for (size_t i = 0; i < x.size(); ++i) {
      codes[i] = static_cast<uint8_t>(NearestCode((x[i] - low) * inverse, 0, high));
    }
    AffineFit fit;
    if (SolveAffine(x, used, fit)) {
      const double error = AffineError(x, used, fit);
      if (error < best_error) {
        best_error = error;
        best = fit;
      }
    }
  }
  return best;
}

int NearestEntry(float x, std::span<const int8_t> table) {
  const auto above = std::lower_bound(table.begin(), table.end(), x,
                                      [](int8_t entry, float value) { return static_cast<float>(entry) < value; });
  if (above == table.begin()) {
    return 0;
  }
  const auto index = static_cast<int>(above - table.begin());
  const bool lower = above == table.end() || x - static_cast<float>(*(above - 1)) < static_cast<float>(*above) - x;
  return lower ? index - 1 : index;
}

float FitTable(std::span<const float> x, std::span<const int8_t> table) {
  const float largest = LargestByMagnitude(x);
  if (largest == 0.0F) {
    return 0.0F;
  }
  const auto code = [&](float value) {
    return static_cast<int>(table[static_cast<size_t>(NearestEntry(value, table))]);
  };
  const float low = BestScale(x, largest, static_cast<float>(table.front()), code);
  const float high = BestScale(x, largest, static_cast<float>(table.back()), code);
  const auto error = [&](float scale) {
    double sum = 0;
    for (const float value : x) {
      const double difference = scale == 0.0F
                                    ? static_cast<double>(value)
                                    : static_cast<double>(value) - static_cast<double>(scale) * code(value / scale);
      sum += difference * difference;
    }
    return sum;
  };
  return error(low) <= error(high) ? low : high;
}

}  // namespace causeway::kernels
