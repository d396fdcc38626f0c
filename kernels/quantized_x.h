// Activations as integers, for weights in panels: each row of x in groups along k, of 32 or, beside wide weights, of
// 128 (kernels/packed.h). A group has a scale of its own, or, beside weights of super-blocks, four of 32 share one.
//   scale = max |x| / 127, code = nearest even (x * (127 / max |x|)): in [-127, 127]
// What is zero (or below 2^-100) has scale 0 and codes 0; what holds an infinity or a NaN has scale NaN and codes 0, so
// that all outputs of its row, and no others, are NaN. All tables compute the same bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

namespace causeway::kernels {

// What follows the codes of a group: its scale, and its codes' sum as kernels need it to take a weight's offset, zero
// point or minimum off.
struct XGroup {
  union {
    float scale;            // of all groups that share it, the last one's
    int16_t minus_pair[2];  // of the others at even places: -sum, and that of the next one
  };
  float minus_scaled_sum;     // scale * -sum; -sum, where groups share a scale
  int32_t minus_eight_sums;   // -8 * sum
  int16_t minus_sum;          // -sum
  int16_t minus_second_half;  // -sum of the second half's codes

  // -sum of each half's.
  float MinusFirst() const { return static_cast<float>(minus_sum - minus_second_half); }
  float MinusSecond() const { return static_cast<float>(minus_second_half); }
};
static_assert(sizeof(XGroup) == 16);

inline constexpr float kLeastMaximum = 0x1p-100F;

inline float XScale(float maximum, bool finite) {
  return !finite ? std::numeric_limits<float>::quiet_NaN() : maximum >= kLeastMaximum ? maximum / 127.0F : 0.0F;
}
// What x is multiplied with before rounding.
inline float InverseXScale(float maximum, bool finite) {
  return finite && maximum >= kLeastMaximum ? 127.0F / maximum : 0.0F;
}

// Values of x that have a sum, and such groups that share a scale.
struct XShape {
  int64_t group;
  int64_t scale_groups;

  constexpr int64_t group_bytes() const { return group + static_cast<int64_t>(sizeof(XGroup)); }
  constexpr int64_t scale_values() const { return group * scale_groups; }
  constexpr bool operator==(const XShape&) const = default;

  XGroup MakeGroup(float scale, int first_sum, int second_sum) const {
    const int minus_sum = -(first_sum + second_sum);
    const float of_sum = scale_groups == 1 ? scale : 1.0F;
    return {{scale},
            of_sum * static_cast<float>(minus_sum),
            8 * minus_sum,
            static_cast<int16_t>(minus_sum),
            static_cast<int16_t>(-second_sum)};
  }
};

// Rows of x, each one its groups one after the other: codes, XGroup. One pointer reaches all of a row.
struct QuantizedX {
  std::byte* data;
  XShape shape;
  int64_t per_row;  // groups of a row
  int64_t stride;   // bytes between rows

  std::byte* Row(int64_t row) const { return data + row * stride; }

  // A cache line apart, so that rows at round distances do not share cache sets.
  static int64_t StrideOf(int64_t columns, const XShape& shape) {
    return (columns / shape.group * shape.group_bytes() + 63) / 64 * 64 + 64;
  }
  static int64_t Bytes(int64_t m, int64_t columns, const XShape& shape) { return m * StrideOf(columns, shape); }
  // Over memory of Bytes(m, columns, shape), 64-byte aligned.
  static QuantizedX In(std::byte* memory, int64_t columns, const XShape& shape) {
    return {memory, shape, columns / shape.group, StrideOf(columns, shape)};
  }
};

}  // namespace causeway::kernels
