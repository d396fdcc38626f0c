// SpQR's dense part, 3 bits in groups of 16: [scale f16][zero f16][16 codes of 3 bits, the first one lowest]. The value
// of a code is scale * (code - zero), the difference and the product each rounded to half precision, as the published
// kernels compute it; the zero point is a real number.
//
// Source: spqr_quant (inference_kernels/spqr_cuda.cpp, dequantize_compressed), arXiv 2306.03078.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "kernels/quant/blocks.h"
#include "kernels/quant/float16.h"

namespace causeway::kernels {
namespace {

constexpr int kValues = 16;
constexpr int kCodes = 8;

struct BlockSPQR3 {
  uint16_t scale;
  uint16_t zero;
  uint8_t codes[6];
};
static_assert(sizeof(BlockSPQR3) == 10);

using Table = std::array<float, kCodes>;

// The nearest number of half precision, without branches: most decoding is this.
inline float RoundToHalf(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t magnitude = bits & 0x7fffffff;
  const uint32_t normal = (magnitude + 0xfff + ((magnitude >> 13) & 1)) & 0xffffe000;
  const uint32_t finite = normal >= 0x47800000 ? 0x7f800000 : normal;  // from 65520 on: infinity
  const uint32_t rounded = magnitude > 0x7f800000 ? magnitude : finite;
  // Below 2^-14 halves are 2^-24 apart, as floats are beside a half.
  const uint32_t small = std::bit_cast<uint32_t>((std::bit_cast<float>(magnitude) + 0.5F) - 0.5F);
  return std::bit_cast<float>((magnitude < 0x38800000 ? small : rounded) | (bits & 0x80000000));
}

Table ValuesOf(uint16_t scale, uint16_t zero) {
  Table values;
  const float s = HalfToFloat(scale);
  const float z = HalfToFloat(zero);
  for (int code = 0; code < kCodes; ++code) {
    values[static_cast<size_t>(code)] = RoundToHalf(s * RoundToHalf(static_cast<float>(code) - z));
  }
  return values;
}

void DecodeOneSPQR3(const BlockSPQR3& block, float* values) {
  const Table table = ValuesOf(block.scale, block.zero);
  uint64_t codes = 0;
  std::memcpy(&codes, block.codes, sizeof(block.codes));
  for (int i = 0; i < kValues; ++i) {
    values[i] = table[(codes >> (3 * i)) & 7];
  }
}

// Codes nearest to x under this scale and zero point; the squared error, NaN where they overflow.
double Encode(const float* x, BlockSPQR3& block) {
  const Table table = ValuesOf(block.scale, block.zero);
  double error = 0;
  uint64_t codes = 0;
  for (int i = 0; i < kValues; ++i) {
    const auto nearest = std::min_element(table.begin(), table.end(),
                                          [&](float a, float b) { return std::fabs(a - x[i]) < std::fabs(b - x[i]); });
    codes |= static_cast<uint64_t>(nearest - table.begin()) << (3 * i);
    error += std::pow(static_cast<double>(*nearest) - static_cast<double>(x[i]), 2);
  }
  std::memcpy(block.codes, &codes, sizeof(block.codes));
  return error;
}

// The better of the range from the least to the largest value, and of that with zero in it: the zero point of a narrow
// range far from zero is too large for half precision.
void EncodeOneSPQR3(const float* x, BlockSPQR3& block) {
  constexpr float kLargestHalf = 65504.0F;
  const auto [low, high] = std::minmax_element(x, x + kValues);
  const auto range = [&](float from, float to) {
    BlockSPQR3 made{};
    made.scale = FloatToHalf(std::min((to / 7.0F) - (from / 7.0F), kLargestHalf));
    const float scale = HalfToFloat(made.scale);
    made.zero = scale == 0.0F ? uint16_t{0} : FloatToHalf(std::clamp(-from / scale, -kLargestHalf, kLargestHalf));
    return made;
  };
  block = range(std::min(*low, 0.0F), std::max(*high, 0.0F));
  BlockSPQR3 narrow = range(*low, *high);
  const double error = Encode(x, block);
  if (Encode(x, narrow) < error) {
    block = narrow;
  }
}

}  // namespace

CAUSEWAY_DEFINE_BLOCK(SPQR3, kValues)

}  // namespace causeway::kernels
