// ggml's first block formats: 32 values under one half-precision scale, some with a minimum.
//
// Source: the block structs of ggml (ggml-common.h) and the meaning that its dequantize_row functions give them. In
// every 4- and 5-bit block the low nibbles are values 0 to 15 and the high ones values 16 to 31; a fifth bit lies in a
// word of its own, bit i for value i.
#include <algorithm>
#include <bit>
#include <cmath>
#include <span>

#include "kernels/quant/blocks.h"
#include "kernels/quant/fit.h"
#include "kernels/quant/float16.h"

namespace causeway::kernels {
namespace {

constexpr int kBlock = 32;
constexpr int kHalf = kBlock / 2;

struct BlockQ8_0 {
  uint16_t scale;
  int8_t codes[kBlock];
};
struct BlockQ4_0 {
  uint16_t scale;
  uint8_t nibbles[kHalf];
};
struct BlockQ4_1 {
  uint16_t scale;
  uint16_t minimum;
  uint8_t nibbles[kHalf];
};
struct BlockQ5_0 {
  uint16_t scale;
  uint8_t fifths[4];
  uint8_t nibbles[kHalf];
};
struct BlockQ5_1 {
  uint16_t scale;
  uint16_t minimum;
  uint8_t fifths[4];
  uint8_t nibbles[kHalf];
};
static_assert(sizeof(BlockQ8_0) == 34 && sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20);
static_assert(sizeof(BlockQ5_0) == 22 && sizeof(BlockQ5_1) == 24);
static_assert(std::endian::native == std::endian::little);

// Bit i is the fifth bit of value i.
uint32_t FifthsOf(const uint8_t (&bytes)[4]) {
  uint32_t word;
  std::memcpy(&word, bytes, sizeof(word));
  return word;
}

void UnpackNibbles(const uint8_t (&nibbles)[kHalf], int (&codes)[kBlock]) {
  for (int i = 0; i < kHalf; ++i) {
    codes[i] = nibbles[i] & 0xf;
    codes[i + kHalf] = nibbles[i] >> 4;
  }
}

void AddFifths(uint32_t fifths, int (&codes)[kBlock]) {
  for (int i = 0; i < kBlock; ++i) {
    codes[i] |= static_cast<int>((fifths >> i) & 1) << 4;
  }
}

void PackNibbles(const int (&codes)[kBlock], uint8_t (&nibbles)[kHalf]) {
  for (int i = 0; i < kHalf; ++i) {
    nibbles[i] = static_cast<uint8_t>((codes[i] & 0xf) | ((codes[i + kHalf] & 0xf) << 4));
  }
}

void PackFifths(const int (&codes)[kBlock], uint8_t (&bytes)[4]) {
  uint32_t word = 0;
  for (int i = 0; i < kBlock; ++i) {
    word |= static_cast<uint32_t>((codes[i] >> 4) & 1) << i;
  }
  std::memcpy(bytes, &word, sizeof(word));
}

void ScaleAll(float scale, int offset, const int (&codes)[kBlock], float* values) {
  for (int i = 0; i < kBlock; ++i) {
    values[i] = static_cast<float>(codes[i] - offset) * scale;
  }
}

void ScaleAndShift(float scale, float minimum, const int (&codes)[kBlock], float* values) {
  for (int i = 0; i < kBlock; ++i) {
    values[i] = static_cast<float>(codes[i]) * scale + minimum;
  }
}

void DecodeOneQ8_0(const BlockQ8_0& block, float* values) {
  const float scale = HalfToFloat(block.scale);
  for (int i = 0; i < kBlock; ++i) {
    values[i] = static_cast<float>(block.codes[i]) * scale;
  }
}
void DecodeOneQ4_0(const BlockQ4_0& block, float* values) {
  int codes[kBlock];
  UnpackNibbles(block.nibbles, codes);
  ScaleAll(HalfToFloat(block.scale), 8, codes, values);
}
void DecodeOneQ4_1(const BlockQ4_1& block, float* values) {
  int codes[kBlock];
  UnpackNibbles(block.nibbles, codes);
  ScaleAndShift(HalfToFloat(block.scale), HalfToFloat(block.minimum), codes, values);
}
void DecodeOneQ5_0(const BlockQ5_0& block, float* values) {
  int codes[kBlock];
  UnpackNibbles(block.nibbles, codes);
  AddFifths(FifthsOf(block.fifths), codes);
  ScaleAll(HalfToFloat(block.scale), 16, codes, values);
}
void DecodeOneQ5_1(const BlockQ5_1& block, float* values) {
  int codes[kBlock];
  UnpackNibbles(block.nibbles, codes);
  AddFifths(FifthsOf(block.fifths), codes);
  ScaleAndShift(HalfToFloat(block.scale), HalfToFloat(block.minimum), codes, values);
}

// ---- Encoding ----------------------------------------------------------------------------------------

// Codes in [-half, half - 1] as offsets from -half, under the scale as it is stored.
uint16_t EncodeSigned(const float* x, int half, int (&codes)[kBlock]) {
  const uint16_t stored = FloatToHalf(FitScale({x, kBlock}, -half, half - 1));
  const float scale = HalfToFloat(stored);
  for (int i = 0; i < kBlock; ++i) {
    codes[i] = (scale == 0.0F ? 0 : NearestCode(x[i] / scale, -half, half - 1)) + half;
  }
  return stored;
}

// Scale and minimum span the block's range: unlike in K-quants the minimum may have either sign.
void EncodeAffine(const float* x, int high, uint16_t& stored_scale, uint16_t& stored_minimum, int (&codes)[kBlock]) {
  const auto [low, top] = std::minmax_element(x, x + kBlock);
  stored_minimum = FloatToHalf(*low);
  const float minimum = HalfToFloat(stored_minimum);
  stored_scale = FloatToHalf((*top - minimum) / static_cast<float>(high));
  const float scale = HalfToFloat(stored_scale);
  for (int i = 0; i < kBlock; ++i) {
    codes[i] = scale == 0.0F ? 0 : NearestCode((x[i] - minimum) / scale, 0, high);
  }
}

void EncodeOneQ8_0(const float* x, BlockQ8_0& block) {
  float largest = 0.0F;
  for (int i = 0; i < kBlock; ++i) {
    largest = std::max(largest, std::fabs(x[i]));
  }
  block.scale = FloatToHalf(largest / 127.0F);
  const float scale = HalfToFloat(block.scale);
  for (int i = 0; i < kBlock; ++i) {
    block.codes[i] = static_cast<int8_t>(scale == 0.0F ? 0 : NearestCode(x[i] / scale, -127, 127));
  }
}
void EncodeOneQ4_0(const float* x, BlockQ4_0& block) {
  int codes[kBlock];
  block.scale = EncodeSigned(x, 8, codes);
  PackNibbles(codes, block.nibbles);
}
void EncodeOneQ4_1(const float* x, BlockQ4_1& block) {
  int codes[kBlock];
  EncodeAffine(x, 15, block.scale, block.minimum, codes);
  PackNibbles(codes, block.nibbles);
}
void EncodeOneQ5_0(const float* x, BlockQ5_0& block) {
  int codes[kBlock];
  block.scale = EncodeSigned(x, 16, codes);
  PackNibbles(codes, block.nibbles);
  PackFifths(codes, block.fifths);
}
void EncodeOneQ5_1(const float* x, BlockQ5_1& block) {
  int codes[kBlock];
  EncodeAffine(x, 31, block.scale, block.minimum, codes);
  PackNibbles(codes, block.nibbles);
  PackFifths(codes, block.fifths);
}

}  // namespace

CAUSEWAY_DEFINE_BLOCK(Q8_0, kBlock)
CAUSEWAY_DEFINE_BLOCK(Q4_0, kBlock)
CAUSEWAY_DEFINE_BLOCK(Q4_1, kBlock)
CAUSEWAY_DEFINE_BLOCK(Q5_0, kBlock)
CAUSEWAY_DEFINE_BLOCK(Q5_1, kBlock)

}  // namespace causeway::kernels
