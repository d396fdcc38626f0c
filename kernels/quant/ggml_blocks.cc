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

// Codes are stored plus `offset`.
void PackNibbles(const int* codes, int offset, uint8_t (&nibbles)[kHalf]) {
  for (int i = 0; i < kHalf; ++i) {
    nibbles[i] = static_cast<uint8_t>(((codes[i] + offset) & 0xf) | (((codes[i + kHalf] + offset) & 0xf) << 4));
  }
}

void PackFifths(const int* codes, int offset, uint8_t (&bytes)[4]) {
  uint32_t word = 0;
  for (int i = 0; i < kBlock; ++i) {
    word |= static_cast<uint32_t>(((codes[i] + offset) >> 4) & 1) << i;
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

// Codes in [-half, half - 1] under one scale, as it is stored.
void FitSigned(const float* x, const float* importance, int half, BlockGrid& grid) {
  grid.low = -half;
  grid.high = half - 1;
  grid.d = FloatToHalf(FitScale({x, kBlock}, {importance, kBlock}, grid.low, grid.high));
  grid.step[0] = HalfToFloat(grid.d);
}

void FitShifted(const float* x, const float* importance, int high, BlockGrid& grid) {
  grid.high = high;
  const AffineFit fit = FitAffine({x, kBlock}, {importance, kBlock}, high, false);
  grid.d = FloatToHalf(fit.scale);
  grid.dmin = FloatToHalf(fit.low);
  grid.step[0] = HalfToFloat(grid.d);
  grid.shift[0] = HalfToFloat(grid.dmin);
}

// The largest magnitude gets the last code: nearest is good enough at eight bits.
void FitOneQ8_0(const float* x, const float* /*importance*/, BlockGrid& grid) {
  float largest = 0.0F;
  for (int i = 0; i < kBlock; ++i) {
    largest = std::max(largest, std::fabs(x[i]));
  }
  grid.low = -127;
  grid.high = 127;
  grid.d = FloatToHalf(largest / 127.0F);
  grid.step[0] = HalfToFloat(grid.d);
}
void PackOneQ8_0(const BlockGrid& grid, const int* codes, BlockQ8_0& block) {
  block.scale = grid.d;
  for (int i = 0; i < kBlock; ++i) {
    block.codes[i] = static_cast<int8_t>(codes[i]);
  }
}

void FitOneQ4_0(const float* x, const float* importance, BlockGrid& grid) { FitSigned(x, importance, 8, grid); }
void PackOneQ4_0(const BlockGrid& grid, const int* codes, BlockQ4_0& block) {
  block.scale = grid.d;
  PackNibbles(codes, 8, block.nibbles);
}

void FitOneQ4_1(const float* x, const float* importance, BlockGrid& grid) { FitShifted(x, importance, 15, grid); }
void PackOneQ4_1(const BlockGrid& grid, const int* codes, BlockQ4_1& block) {
  block.scale = grid.d;
  block.minimum = grid.dmin;
  PackNibbles(codes, 0, block.nibbles);
}

void FitOneQ5_0(const float* x, const float* importance, BlockGrid& grid) { FitSigned(x, importance, 16, grid); }
void PackOneQ5_0(const BlockGrid& grid, const int* codes, BlockQ5_0& block) {
  block.scale = grid.d;
  PackNibbles(codes, 16, block.nibbles);
  PackFifths(codes, 16, block.fifths);
}

void FitOneQ5_1(const float* x, const float* importance, BlockGrid& grid) { FitShifted(x, importance, 31, grid); }
void PackOneQ5_1(const BlockGrid& grid, const int* codes, BlockQ5_1& block) {
  block.scale = grid.d;
  block.minimum = grid.dmin;
  PackNibbles(codes, 0, block.nibbles);
  PackFifths(codes, 0, block.fifths);
}

}  // namespace

CAUSEWAY_DEFINE_BLOCK(Q8_0, kBlock)
CAUSEWAY_DEFINE_BLOCK(Q4_0, kBlock)
CAUSEWAY_DEFINE_BLOCK(Q4_1, kBlock)
CAUSEWAY_DEFINE_BLOCK(Q5_0, kBlock)
CAUSEWAY_DEFINE_BLOCK(Q5_1, kBlock)

}  // namespace causeway::kernels
