// Activations as integers, for weights in panels: each row of x in groups along k, of 32 or, beside wide weights, of
// 128 (kernels/packed.h), every group under its own scale.
//   scale = max |x| / 127, code = nearest even (x * (127 / max |x|)): in [-127, 127]
// A group that is zero (or below 2^-100) has scale 0 and codes 0; one that holds an infinity or a NaN has scale NaN and
// codes 0, so that all outputs of its row, and no others, are NaN. All tables compute the same bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

namespace causeway::kernels {

// What follows the codes of a group: its scale, and its codes' sum as kernels need it to take a weight's offset, zero
// point or minimum off.
struct XGroup {
  float scale;
  float minus_scaled_sum;     // scale * -sum
  int32_t minus_eight_sums;   // -8 * sum
  int16_t minus_sum;          // -sum
  int16_t minus_second_half;  // -sum of the second half's codes

  // As minus_scaled_sum, of each half.
  float ScaledFirst() const { return scale * static_cast<float>(minus_sum - minus_second_half); }
  float ScaledSecond() const { return scale * static_cast<float>(minus_second_half); }
};
static_assert(sizeof(XGroup) == 16);

inline constexpr float kLeastMaximum = 0x1p-100F;

inline XGroup MakeXGroup(float maximum, bool finite, int first_sum, int second_sum) {
  const float scale = !finite                    ? std::numeric_limits<float>::quiet_NaN()
                      : maximum >= kLeastMaximum ? maximum / 127.0F
                                                 : 0.0F;
  const int minus_sum = -(first_sum + second_sum);
  return {scale, scale * static_cast<float>(minus_sum), 8 * minus_sum, static_cast<int16_t>(minus_sum),
          static_cast<int16_t>(-second_sum)};
}
// What x is multiplied with before rounding.
inline float InverseXScale(float maximum, bool finite) {
  return finite && maximum >= kLeastMaximum ? 127.0F / maximum : 0.0F;
}

// Rows of x, each one its groups one after the other: codes, XGroup. One pointer reaches all of a row.
struct QuantizedX {
  std::byte* data;
  int64_t group;    // values of one: 32 or 128
  int64_t per_row;  // groups of a row
  int64_t stride;   // bytes between rows

  int64_t group_bytes() const { return group + static_cast<int64_t>(sizeof(XGroup)); }
  std::byte* Row(int64_t row) const { return data + row * stride; }

  // A cache line apart, so that rows at round distances do not share cache sets.
  static int64_t StrideOf(int64_t columns, int64_t group) {
    return (columns + columns / group * static_cast<int64_t>(sizeof(XGroup)) + 63) / 64 * 64 + 64;
  }
  static int64_t Bytes(int64_t m, int64_t columns, int64_t group) { return m * StrideOf(columns, group); }
  // Over memory of Bytes(m, columns, group), 64-byte aligned.
  static QuantizedX In(std::byte* memory, int64_t columns, int64_t group) {
    return {memory, group, columns / group, StrideOf(columns, group)};
  }
};

}  // namespace causeway::kernels
