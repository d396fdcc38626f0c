// The loops run in eight lanes of their own, which compilers turn into vectors without reordering a sum: tens of
// candidates for each group are what encoding costs.
#include "kernels/quant/fit.h"

#include <algorithm>
#include <cmath>

namespace causeway::kernels {
namespace {

constexpr int kSteps = 18;  // on either side of the plain scale, a tenth of a code each
constexpr float kStep = 0.1F;
constexpr int kTableSteps = 9;  // a fortieth of the outermost entry each
constexpr float kTableStep = 1.0F / 40.0F;
constexpr size_t kLanes = 8;

float LargestByMagnitude(std::span<const float> x) {
  float largest = 0.0F;
  for (const float value : x) {
    largest = std::fabs(value) > std::fabs(largest) ? value : largest;
  }
  return largest;
}

float Rounded(float x, float low, float high) {
  constexpr float kToWhole = 12582912.0F;
  const float raised = x < low ? low : x;
  const float inside = raised > high ? high : raised;
  return (inside + kToWhole) - kToWhole;
}

// Weighed sums over a group of values x and what their scale is multiplied with, q.
struct Sums {
  double w = 0, x = 0, xx = 0, q = 0, xq = 0, qq = 0;
};

// With kAll all of them, else xq and qq alone. `code` maps x to q.
template <bool kAll, typename Code>
Sums SumUp(std::span<const float> x, std::span<const float> importance, Code code) {
  float w_[kLanes] = {}, x_[kLanes] = {}, xx[kLanes] = {}, q_[kLanes] = {}, xq[kLanes] = {}, qq[kLanes] = {};
  const auto add = [&](size_t at, size_t lane) {
    const float value = x[at];
    const float q = code(value);
    const float weighed = importance[at] * q;
    xq[lane] += weighed * value;
    qq[lane] += weighed * q;
    if constexpr (kAll) {
      q_[lane] += weighed;
      w_[lane] += importance[at];
      x_[lane] += importance[at] * value;
      xx[lane] += importance[at] * value * value;
    }
  };
  size_t at = 0;
  for (; at + kLanes <= x.size(); at += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      add(at + lane, lane);
    }
  }
  for (size_t lane = 0; at + lane < x.size(); ++lane) {
    add(at + lane, lane);
  }
  Sums sums;
  for (size_t lane = 0; lane < kLanes; ++lane) {
    sums.w += static_cast<double>(w_[lane]);
    sums.x += static_cast<double>(x_[lane]);
    sums.xx += static_cast<double>(xx[lane]);
    sums.q += static_cast<double>(q_[lane]);
    sums.xq += static_cast<double>(xq[lane]);
    sums.qq += static_cast<double>(qq[lane]);
  }
  return sums;
}

// Tries scales about largest / edge and keeps the one whose codes take off most: for given codes the best scale is
// xq / qq, and it takes xq^2 / qq off the squared error. `code` maps x / scale to what the scale is multiplied with.
struct Found {
  float scale = 0.0F;
  double gain = 0;
};
template <typename Code>
Found BestScale(std::span<const float> x, std::span<const float> importance, float largest, float edge, int steps,
                float step_size, Code code) {
  Found best;
  for (int step = -steps; step <= steps; ++step) {
    const float inverse = (edge + step_size * static_cast<float>(step)) / largest;
    if (inverse == 0.0F || !std::isfinite(inverse)) {
      continue;
    }
    const Sums sums = SumUp<false>(x, importance, [&](float value) { return code(value * inverse); });
    const double gain = sums.qq > 0 ? sums.xq * sums.xq / sums.qq : 0;
    if (gain > best.gain) {
      best = {static_cast<float>(sums.xq / sums.qq), gain};
    }
  }
  return best;
}

// The optimum for given codes; its error, infinite if the codes are all the same.
double SolveAffine(const Sums& sums, bool reach_zero, AffineFit& fit) {
  const double determinant = sums.w * sums.qq - sums.q * sums.q;
  if (!(determinant > 0)) {
    return INFINITY;
  }
  double scale = (sums.w * sums.xq - sums.x * sums.q) / determinant;
  double low = (sums.qq * sums.x - sums.q * sums.xq) / determinant;
  if (reach_zero && low > 0) {
    low = 0;
    scale = sums.xq / sums.qq;
  }
  fit = {static_cast<float>(scale), static_cast<float>(low)};
  return scale > 0 ? sums.xx - scale * sums.xq - low * sums.x : INFINITY;
}

}  // namespace

float FitScale(std::span<const float> x, std::span<const float> importance, int low, int high) {
  const float largest = LargestByMagnitude(x);
  if (largest == 0.0F) {
    return 0.0F;
  }
  const auto least = static_cast<float>(low);
  const auto most = static_cast<float>(high);
  const Found best =
      BestScale(x, importance, largest, least, kSteps, kStep, [&](float value) { return Rounded(value, least, most); });
  return best.gain > 0 ? best.scale : largest / least;  // nothing of importance: the plain scale
}

AffineFit FitAffine(std::span<const float> x, std::span<const float> importance, int high, bool reach_zero) {
  const auto [lowest, highest] = std::minmax_element(x.begin(), x.end());
  const float low = reach_zero ? std::min(*lowest, 0.0F) : *lowest;
  if (!(*highest > low)) {
    return {0.0F, low};
  }
  const auto most = static_cast<float>(high);
  AffineFit best{(*highest - low) / most, low};
  double best_error = INFINITY;
  for (int step = -kSteps / 2; step <= kSteps; ++step) {
    const float inverse = (most + kStep * static_cast<float>(step)) / (*highest - low);
    if (!(inverse > 0.0F) || !std::isfinite(inverse)) {
      continue;
    }
    const Sums sums =
        SumUp<true>(x, importance, [&](float value) { return Rounded((value - low) * inverse, 0.0F, most); });
    AffineFit fit;
    if (const double error = SolveAffine(sums, reach_zero, fit); error < best_error) {
      best_error = error;
      best = fit;
    }
  }
  return best;
}

float FitTable(std::span<const float> x, std::span<const float> importance, std::span<const float> table) {
  const float largest = LargestByMagnitude(x);
  if (largest == 0.0F) {
    return 0.0F;
  }
  // The entry nearest to each whole number: what x / scale is rounded to before it is looked up, which is near enough
  // for a search. Its scale is then the best for the entries that were found.
  constexpr int kReach = 128;
  float nearest[2 * kReach + 1];
  size_t entry = 0;
  for (int i = -kReach; i <= kReach; ++i) {
    const auto whole = static_cast<float>(i);
    while (entry + 1 < table.size() && whole - table[entry] > table[entry + 1] - whole) {
      ++entry;
    }
    nearest[i + kReach] = table[entry];
  }
  const auto code = [&](float value) { return nearest[NearestCode(value, -kReach, kReach) + kReach]; };
  const auto best_at = [&](float edge) {
    return BestScale(x, importance, largest, edge, kTableSteps, kTableStep * edge, code);
  };
  const Found low = best_at(table.front());
  const Found high = best_at(table.back());
  return low.gain >= high.gain && low.gain > 0 ? low.scale : high.gain > 0 ? high.scale : largest / table.front();
}

}  // namespace causeway::kernels
