// Scales for a group of values: the searches that the encoders share. Squared error is what they minimise.
#pragma once

#include <cstdint>
#include <span>

namespace causeway::kernels {

// x to the nearest whole number in [low, high]; NaN to low.
int NearestCode(float x, int low, int high);

// The scale s for which codes = nearest(x / s) in [low, high] leave little of sum (x - s * code)^2: the sign that gives
// the largest magnitude the code `low`, many steps about it, and the exact optimum for each set of codes. 0 for zeros.
float FitScale(std::span<const float> x, int low, int high);

// x ~ scale * code - minimum with codes in [0, high] and minimum >= 0, so that zero stays representable.
struct AffineFit {
  float scale = 0.0F;
  float minimum = 0.0F;
};
AffineFit FitAffine(std::span<const float> x, int high);

// The scale for values that are a table's entries times it. `table` ascends.
float FitTable(std::span<const float> x, std::span<const int8_t> table);
// Index of the entry nearest to x.
int NearestEntry(float x, std::span<const int8_t> table);

}  // namespace causeway::kernels
