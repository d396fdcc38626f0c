// Scalar conversions between binary32 and the 16-bit floats: IEEE 754 binary16 and bfloat16 (the upper
// half of a binary32). Rounding is to nearest, ties to even; NaN stays NaN.
#pragma once

#include <cstdint>

namespace causeway::kernels {

float HalfToFloat(uint16_t half);
uint16_t FloatToHalf(float value);
float BFloatToFloat(uint16_t bfloat);
uint16_t FloatToBFloat(float value);

}  // namespace causeway::kernels
