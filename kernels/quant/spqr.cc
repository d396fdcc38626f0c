// SpQR's dense part, 3 bits in groups of 16: [scale f16][zero f16][16 codes of 3 bits, the first one lowest]. The value
// of a code is scale * (code - zero), the difference and the product each rounded to half precision, as the published
// kernels compute it; the zero point is a real number.
//
// Source: spqr_quant (inference_kernels/spqr_cuda.cpp, dequantize_compressed), arXiv 2306.03078.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>

#include "kernels/quant/blocks.h"
#include "kernels/quant/float16.h"

namespace causeway::kernels {
namespace {

constexpr int kValues = 16;
constexpr size_t kCodes = 8;

struct BlockSPQR3 {
  uint16_t scale;
  uint16_t zero;
  uint8_t codes[6];
};
static_assert(sizeof(BlockSPQR3) == 10);

// Both are computed, and no branch keeps a loop from becoming vectors.
inline int32_t Select(bool condition, int32_t yes, int32_t no) {
  const int32_t mask = -static_cast<int32_t>(condition);
  return (mask & yes) | (~mask & no);
}

// The numbers of `blocks` blocks, in the order of their codes; eight each. Loops are long and have no branches: they
// are most of the time of decoding, and become vectors.
constexpr size_t kMost = 32;
struct Tables {
  alignas(64) float values[kMost * kCodes];

  Tables(const std::byte* source, size_t blocks) {
    float scales[kMost];
    for (size_t i = 0; i < blocks; ++i) {
      BlockSPQR3 block;
      std::memcpy(&block, source + i * sizeof(block), sizeof(block));
      scales[i] = HalfToFloat(block.scale);
      const float zero = HalfToFloat(block.zero);
      for (size_t code = 0; code < kCodes; ++code) {
        values[i * kCodes + code] = static_cast<float>(code) - zero;
      }
    }
    RoundToHalf(blocks * kCodes);
    for (size_t i = 0; i < blocks; ++i) {
      for (size_t code = 0; code < kCodes; ++code) {
        values[i * kCodes + code] *= scales[i];
      }
    }
    RoundToHalf(blocks * kCodes);
  }

 private:
  void RoundToHalf(size_t count) {
    float small[kMost * kCodes];  // below 2^-14 halves are 2^-24 apart, as floats are beside a half
    for (size_t i = 0; i < count; ++i) {
      small[i] = (std::fabs(values[i]) + 0.5F) - 0.5F;
    }
    int32_t bits[kMost * kCodes];
    int32_t small_bits[kMost * kCodes];
    std::memcpy(bits, values, sizeof(values));
    std::memcpy(small_bits, small, sizeof(small));
    for (size_t i = 0; i < count; ++i) {
      const int32_t magnitude = bits[i] & 0x7fffffff;
      const int32_t normal = (magnitude + 0xfff + ((magnitude >> 13) & 1)) & ~0x1fff;
      const int32_t finite = Select(magnitude >= 0x477ff000, 0x7f800000, normal);  // from 65520 on: infinity
      const int32_t rounded = Select(magnitude > 0x7f800000, magnitude, finite);
      bits[i] = Select(magnitude < 0x38800000, small_bits[i], rounded) | (bits[i] & ~0x7fffffff);
    }
    std::memcpy(values, bits, sizeof(values));
  }
};

uint64_t CodesOf(const std::byte* block) {
  uint64_t codes = 0;
  std::memcpy(&codes, block + offsetof(BlockSPQR3, codes), sizeof(BlockSPQR3::codes));
  return codes;
}

// Codes nearest to x under this scale and zero point; the squared error, NaN where they overflow.
double Encode(const float* x, BlockSPQR3& block) {
  std::byte bytes[sizeof(block)];
  std::memcpy(bytes, &block, sizeof(block));
  const Tables tables(bytes, 1);
  const std::span table(tables.values, kCodes);
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

void DecodeSPQR3(const std::byte* source, float* values, int64_t count) {
  auto blocks = static_cast<size_t>(count / kValues);
  while (blocks > 0) {
    const size_t here = std::min(blocks, kMost);
    const Tables tables(source, here);
    for (size_t i = 0; i < here; ++i, source += sizeof(BlockSPQR3), values += kValues) {
      const uint64_t codes = CodesOf(source);
      const float* const table = tables.values + i * kCodes;
      for (int j = 0; j < kValues; ++j) {
        values[j] = table[(codes >> (3 * j)) & 7];
      }
    }
    blocks -= here;
  }
}

void EncodeSPQR3(const float* values, std::byte* target, int64_t count) {
  for (int64_t i = 0; i < count; i += kValues, target += sizeof(BlockSPQR3)) {
    BlockSPQR3 block{};
    EncodeOneSPQR3(values + i, block);
    std::memcpy(target, &block, sizeof(block));
  }
}

}  // namespace causeway::kernels
