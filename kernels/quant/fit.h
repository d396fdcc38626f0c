// Scales for a group of values: the searches that the encoders share. What they minimise is the squared error, each
// value's weighed by its importance. x and importance are of equal length.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/quant/grid.h"

namespace causeway::kernels {

// The scale s for which codes = nearest(x / s) in [low, high] leave little error: the sign that gives the largest
// magnitude the code `low`, many steps about it, and the exact optimum for each set of codes. 0 for zeros.
float FitScale(std::span<const float> x, std::span<const float> importance, int low, int high);

// x ~ scale * code + low with codes in [0, high].
struct AffineFit {
  float scale = 0.0F;
  float low = 0.0F;
};
// `reach_zero`: low is at most zero, as formats want that store it as a minimum to be taken off.
AffineFit FitAffine(std::span<const float> x, std::span<const float> importance, int high, bool reach_zero);

// The scale for values that are a table's entries times it. `table` ascends, in whole numbers from -128 to 128.
float FitTable(std::span<const float> x, std::span<const float> importance, std::span<const float> table);

}  // namespace causeway::kernels
