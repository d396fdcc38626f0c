// Activations as integers, for weights in panels: each row of x in groups of 32 along k, every group under its own
// scale.
//   scale = max |x| / 127, code = nearest even (x * (127 / max |x|)): in [-127, 127]
// A group that is zero (or below 2^-100) has scale 0 and codes 0; one that holds an infinity or a NaN has scale NaN and
// codes 0, so that all outputs of its row, and no others, are NaN. All tables compute the same bits.
#pragma once

#include <cstdint>
#include <limits>

namespace causeway::kernels {

struct XGroup {
  float scale;
  int16_t half_sums[2];  // of the codes of each half: take the offset of unsigned codes of the weight off, exactly

  int32_t Sum() const { return half_sums[0] + half_sums[1]; }
};
// What a weight's minimum is multiplied with.
inline float ScaledSum(const XGroup& group) { return group.scale * static_cast<float>(group.Sum()); }

inline constexpr float kLeastMaximum = 0x1p-100F;

inline XGroup MakeXGroup(float maximum, bool finite, int first_sum, int second_sum) {
  const float scale = !finite                    ? std::numeric_limits<float>::quiet_NaN()
                      : maximum >= kLeastMaximum ? maximum / 127.0F
                                                 : 0.0F;
  return {scale, {static_cast<int16_t>(first_sum), static_cast<int16_t>(second_sum)}};
}
// What x is multiplied with before rounding.
inline float InverseXScale(float maximum, bool finite) {
  return finite && maximum >= kLeastMaximum ? 127.0F / maximum : 0.0F;
}

// Rows of x as codes [m][stride] and groups [m][groups].
struct QuantizedX {
  int8_t* codes;
  XGroup* groups;
  int64_t stride;   // bytes between rows of codes
  int64_t per_row;  // groups of a row

  // A cache line apart, so that rows at round distances do not share cache sets.
  static int64_t StrideOf(int64_t columns) { return columns + 64; }
  static int64_t Bytes(int64_t m, int64_t columns) {
    return m * (StrideOf(columns) + columns / 32 * static_cast<int64_t>(sizeof(XGroup)));
  }
  // Over memory of Bytes(m, columns), 64-byte aligned.
  static QuantizedX In(void* memory, int64_t m, int64_t columns) {
    auto* const groups = static_cast<XGroup*>(memory);
    return {reinterpret_cast<int8_t*>(groups + m * (columns / 32)), groups, StrideOf(columns), columns / 32};
  }
};

}  // namespace causeway::kernels
