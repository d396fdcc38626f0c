// ggml's K-quants: super-blocks of 256 values in groups of 16 or 32, the groups' scales themselves quantized under one
// half-precision number (two, where groups have a minimum).
//
// Source: the block structs of ggml (ggml-common.h) and the meaning that its dequantize_row functions give them. Values
// are (d * scale) * code - (dmin * minimum), each step rounded to float32.
#include <algorithm>
#include <cmath>
#include <span>

#include "kernels/quant/blocks.h"
#include "kernels/quant/fit.h"
#include "kernels/quant/float16.h"

namespace causeway::kernels {
namespace {

constexpr int kBlock = 256;

struct BlockQ2_K {
  uint8_t scales[16];  // low nibble the scale, high nibble the minimum
  uint8_t pairs[64];
  uint16_t d;
  uint16_t dmin;
};
struct BlockQ3_K {
  uint8_t thirds[32];  // the third bit of each code
  uint8_t pairs[64];
  uint8_t scales[12];
  uint16_t d;
};
struct BlockQ4_K {
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];
  uint8_t nibbles[128];
};
struct BlockQ5_K {
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];
  uint8_t fifths[32];
  uint8_t nibbles[128];
};
struct BlockQ6_K {
  uint8_t nibbles[128];
  uint8_t pairs[64];
  int8_t scales[16];
  uint16_t d;
};
static_assert(sizeof(BlockQ2_K) == 84 && sizeof(BlockQ3_K) == 110 && sizeof(BlockQ4_K) == 144);
static_assert(sizeof(BlockQ5_K) == 176 && sizeof(BlockQ6_K) == 210);

using Codes = uint8_t[kBlock];  // as unsigned numbers, in the order of the values

// ---- Where the bits of code i lie --------------------------------------------------------------------
// Bits of the codes lie in planes: `run_values` codes in `run_bytes` bytes, neighbours in neighbouring bytes, and what
// follows run_bytes codes later in the next bits of the same byte.
struct Plane {
  int run_values;
  int run_bytes;
  int bits;
};
constexpr Plane kPairs = {128, 32, 2};        // Q2_K, Q3_K; the upper bits of Q6_K
constexpr Plane kNibbles = {64, 32, 4};       // Q4_K, Q5_K
constexpr Plane kLongNibbles = {128, 64, 4};  // Q6_K
constexpr Plane kBits = {256, 32, 1};         // the third bits of Q3_K, the fifth bits of Q5_K

// Calls body(code, byte, shift) for each code; in loops that vectorize.
template <Plane kPlane, typename Body>
void ForCodes(Body body) {
  for (int run = 0; run < kBlock / kPlane.run_values; ++run) {
    for (int part = 0; part < kPlane.run_values / kPlane.run_bytes; ++part) {
      for (int i = 0; i < kPlane.run_bytes; ++i) {
        body(run * kPlane.run_values + part * kPlane.run_bytes + i, run * kPlane.run_bytes + i, part * kPlane.bits);
      }
    }
  }
}

// Adds a plane's bits to the codes, from bit `to` on.
template <Plane kPlane, int kTo = 0, size_t kBytes>
void Unpack(const uint8_t (&bytes)[kBytes], Codes& codes) {
  static_assert(kBytes == kBlock * kPlane.bits / 8);
  ForCodes<kPlane>([&](int code, int byte, int shift) {
    codes[code] |= static_cast<uint8_t>(((bytes[byte] >> shift) & ((1 << kPlane.bits) - 1)) << kTo);
  });
}

// Adds the codes' bits from bit `from` on to a plane of zeros.
template <Plane kPlane, int kFrom = 0, size_t kBytes>
void Pack(const Codes& codes, uint8_t (&bytes)[kBytes]) {
  ForCodes<kPlane>([&](int code, int byte, int shift) {
    bytes[byte] |= static_cast<uint8_t>(((codes[code] >> kFrom) & ((1 << kPlane.bits) - 1)) << shift);
  });
}

// ---- Scales of groups --------------------------------------------------------------------------------

// Eight scales and eight minima of six bits in twelve bytes: 0 to 3 whole in bytes 0 to 3 (minima 4 to 7); the low
// nibbles of 4 to 7 in bytes 8 to 11, their upper two bits on top of bytes 0 to 3 (4 to 7).
struct SixBits {
  uint8_t scales[8];
  uint8_t minima[8];
};
SixBits UnpackSixBits(const uint8_t (&bytes)[12]) {
  SixBits six;
  for (int i = 0; i < 4; ++i) {
    six.scales[i] = bytes[i] & 63;
    six.minima[i] = bytes[i + 4] & 63;
    six.scales[i + 4] = static_cast<uint8_t>((bytes[i + 8] & 0xf) | (bytes[i] >> 6 << 4));
    six.minima[i + 4] = static_cast<uint8_t>((bytes[i + 8] >> 4) | (bytes[i + 4] >> 6 << 4));
  }
  return six;
}
void PackSixBits(const SixBits& six, uint8_t (&bytes)[12]) {
  for (int i = 0; i < 4; ++i) {
    bytes[i] = static_cast<uint8_t>(six.scales[i] | (six.scales[i + 4] >> 4 << 6));
    bytes[i + 4] = static_cast<uint8_t>(six.minima[i] | (six.minima[i + 4] >> 4 << 6));
    bytes[i + 8] = static_cast<uint8_t>((six.scales[i + 4] & 0xf) | ((six.minima[i + 4] & 0xf) << 4));
  }
}

// Q3_K: sixteen scales of six bits, minus 32: low nibbles in bytes 0 to 7 (0 to 7 low, 8 to 15 high), upper two bits in
// bytes 8 to 11, four scales a byte, four apart.
int ThreeScale(const uint8_t (&bytes)[12], int group) {
  const int low = (bytes[group % 8] >> (group / 8 * 4)) & 0xf;
  return (low | (((bytes[8 + group % 4] >> (group / 4 * 2)) & 3) << 4)) - 32;
}
void PutThreeScale(int scale, int group, uint8_t (&bytes)[12]) {
  const int stored = scale + 32;
  bytes[group % 8] |= static_cast<uint8_t>((stored & 0xf) << (group / 8 * 4));
  bytes[8 + group % 4] |= static_cast<uint8_t>((stored >> 4) << (group / 4 * 2));
}

// ---- Decoding ----------------------------------------------------------------------------------------

// A group's values: step * (code - offset) - minimum, where only one of the last two is there.
void ScaleGroup(float step, int offset, const uint8_t* codes, int count, float* values) {
  for (int i = 0; i < count; ++i) {
    values[i] = step * static_cast<float>(codes[i] - offset);
  }
}
void ScaleAndShiftGroup(float step, float minimum, const uint8_t* codes, int count, float* values) {
  for (int i = 0; i < count; ++i) {
    values[i] = step * static_cast<float>(codes[i]) - minimum;
  }
}

void DecodeOneQ2_K(const BlockQ2_K& block, float* values) {
  Codes codes = {};
  Unpack<kPairs>(block.pairs, codes);
  const float d = HalfToFloat(block.d);
  const float dmin = HalfToFloat(block.dmin);
  for (int group = 0; group < 16; ++group) {
    const float step = d * static_cast<float>(block.scales[group] & 0xf);
    const float minimum = dmin * static_cast<float>(block.scales[group] >> 4);
    ScaleAndShiftGroup(step, minimum, codes + group * 16, 16, values + group * 16);
  }
}

void DecodeOneQ3_K(const BlockQ3_K& block, float* values) {
  Codes codes = {};
  Unpack<kPairs>(block.pairs, codes);
  Unpack<kBits, 2>(block.thirds, codes);
  const float d = HalfToFloat(block.d);
  for (int group = 0; group < 16; ++group) {
    const float step = d * static_cast<float>(ThreeScale(block.scales, group));
    ScaleGroup(step, 4, codes + group * 16, 16, values + group * 16);
  }
}

void DecodeSixBitGroups(uint16_t d_half, uint16_t dmin_half, const uint8_t (&scales)[12], const Codes& codes,
                        float* values) {
  const SixBits six = UnpackSixBits(scales);
  const float d = HalfToFloat(d_half);
  const float dmin = HalfToFloat(dmin_half);
  for (int group = 0; group < 8; ++group) {
    const float step = d * static_cast<float>(six.scales[group]);
    const float minimum = dmin * static_cast<float>(six.minima[group]);
    ScaleAndShiftGroup(step, minimum, codes + group * 32, 32, values + group * 32);
  }
}

void DecodeOneQ4_K(const BlockQ4_K& block, float* values) {
  Codes codes = {};
  Unpack<kNibbles>(block.nibbles, codes);
  DecodeSixBitGroups(block.d, block.dmin, block.scales, codes, values);
}

void DecodeOneQ5_K(const BlockQ5_K& block, float* values) {
  Codes codes = {};
  Unpack<kNibbles>(block.nibbles, codes);
  Unpack<kBits, 4>(block.fifths, codes);
  DecodeSixBitGroups(block.d, block.dmin, block.scales, codes, values);
}

void DecodeOneQ6_K(const BlockQ6_K& block, float* values) {
  Codes codes = {};
  Unpack<kLongNibbles>(block.nibbles, codes);
  Unpack<kPairs, 4>(block.pairs, codes);
  const float d = HalfToFloat(block.d);
  for (int group = 0; group < 16; ++group) {
    const float step = d * static_cast<float>(block.scales[group]);
    ScaleGroup(step, 32, codes + group * 16, 16, values + group * 16);
  }
}

// ---- Encoding ----------------------------------------------------------------------------------------

// Groups with a minimum: each is fitted alone, and scales and minima are rounded to `scale_high` steps of the largest.
template <int kGroups>
void FitAffineGroups(const float* x, const float* importance, int code_high, int scale_high, BlockGrid& grid) {
  constexpr int kSize = kBlock / kGroups;
  AffineFit fits[kGroups];
  float largest_scale = 0.0F;
  float largest_minimum = 0.0F;
  for (int group = 0; group < kGroups; ++group) {
    fits[group] = FitAffine({x + group * kSize, kSize}, {importance + group * kSize, kSize}, code_high, true);
    largest_scale = std::max(largest_scale, fits[group].scale);
    largest_minimum = std::max(largest_minimum, -fits[group].low);
  }
  grid.group = kSize;
  grid.high = code_high;
  grid.d = FloatToHalf(largest_scale / static_cast<float>(scale_high));
  grid.dmin = FloatToHalf(largest_minimum / static_cast<float>(scale_high));
  const float d = HalfToFloat(grid.d);
  const float dmin = HalfToFloat(grid.dmin);
  for (int group = 0; group < kGroups; ++group) {
    grid.scales[group] = d == 0.0F ? 0 : NearestCode(fits[group].scale / d, 0, scale_high);
    grid.minima[group] = dmin == 0.0F ? 0 : NearestCode(-fits[group].low / dmin, 0, scale_high);
    grid.step[group] = d * static_cast<float>(grid.scales[group]);
    grid.shift[group] = -(dmin * static_cast<float>(grid.minima[group]));
  }
}

// Sixteen groups around zero, codes in [-half, half - 1], scales in [-scale_half, scale_half - 1].
void FitSignedGroups(const float* x, const float* importance, int half, int scale_half, BlockGrid& grid) {
  constexpr int kGroups = 16;
  float fits[kGroups];
  for (int group = 0; group < kGroups; ++group) {
    fits[group] = FitScale({x + group * 16, 16}, {importance + group * 16, 16}, -half, half - 1);
  }
  grid.group = 16;
  grid.low = -half;
  grid.high = half - 1;
  grid.d = FloatToHalf(FitScale(fits, {EqualImportance(), kGroups}, -scale_half, scale_half - 1));
  const float d = HalfToFloat(grid.d);
  for (int group = 0; group < kGroups; ++group) {
    grid.scales[group] = d == 0.0F ? 0 : NearestCode(fits[group] / d, -scale_half, scale_half - 1);
    grid.step[group] = d * static_cast<float>(grid.scales[group]);
  }
}

// As unsigned numbers.
void Store(const int* codes, int offset, Codes& stored) {
  for (int i = 0; i < kBlock; ++i) {
    stored[i] = static_cast<uint8_t>(codes[i] + offset);
  }
}

void FitOneQ2_K(const float* x, const float* importance, BlockGrid& grid) {
  FitAffineGroups<16>(x, importance, 3, 15, grid);
}
void PackOneQ2_K(const BlockGrid& grid, const int* codes, BlockQ2_K& block) {
  block.d = grid.d;
  block.dmin = grid.dmin;
  for (int i = 0; i < 16; ++i) {
    block.scales[i] = static_cast<uint8_t>(grid.scales[i] | (grid.minima[i] << 4));
  }
  Codes stored;
  Store(codes, 0, stored);
  Pack<kPairs>(stored, block.pairs);
}

void FitOneQ3_K(const float* x, const float* importance, BlockGrid& grid) {
  FitSignedGroups(x, importance, 4, 32, grid);
}
void PackOneQ3_K(const BlockGrid& grid, const int* codes, BlockQ3_K& block) {
  block.d = grid.d;
  for (int i = 0; i < 16; ++i) {
    PutThreeScale(grid.scales[i], i, block.scales);
  }
  Codes stored;
  Store(codes, 4, stored);
  Pack<kPairs>(stored, block.pairs);
  Pack<kBits, 2>(stored, block.thirds);
}

// What Q4_K and Q5_K share.
template <typename Block>
void PackSixBitGroups(const BlockGrid& grid, const Codes& stored, Block& block) {
  block.d = grid.d;
  block.dmin = grid.dmin;
  SixBits six;
  for (int i = 0; i < 8; ++i) {
    six.scales[i] = static_cast<uint8_t>(grid.scales[i]);
    six.minima[i] = static_cast<uint8_t>(grid.minima[i]);
  }
  PackSixBits(six, block.scales);
  Pack<kNibbles>(stored, block.nibbles);
}

void FitOneQ4_K(const float* x, const float* importance, BlockGrid& grid) {
  FitAffineGroups<8>(x, importance, 15, 63, grid);
}
void PackOneQ4_K(const BlockGrid& grid, const int* codes, BlockQ4_K& block) {
  Codes stored;
  Store(codes, 0, stored);
  PackSixBitGroups(grid, stored, block);
}

void FitOneQ5_K(const float* x, const float* importance, BlockGrid& grid) {
  FitAffineGroups<8>(x, importance, 31, 63, grid);
}
void PackOneQ5_K(const BlockGrid& grid, const int* codes, BlockQ5_K& block) {
  Codes stored;
  Store(codes, 0, stored);
  PackSixBitGroups(grid, stored, block);
  Pack<kBits, 4>(stored, block.fifths);
}

void FitOneQ6_K(const float* x, const float* importance, BlockGrid& grid) {
  FitSignedGroups(x, importance, 32, 128, grid);
}
void PackOneQ6_K(const BlockGrid& grid, const int* codes, BlockQ6_K& block) {
  block.d = grid.d;
  for (int i = 0; i < 16; ++i) {
    block.scales[i] = static_cast<int8_t>(grid.scales[i]);
  }
  Codes stored;
  Store(codes, 32, stored);
  Pack<kLongNibbles>(stored, block.nibbles);
  Pack<kPairs, 4>(stored, block.pairs);
}

}  // namespace

CAUSEWAY_DEFINE_BLOCK(Q2_K, kBlock)
CAUSEWAY_DEFINE_BLOCK(Q3_K, kBlock)
CAUSEWAY_DEFINE_BLOCK(Q4_K, kBlock)
CAUSEWAY_DEFINE_BLOCK(Q5_K, kBlock)
CAUSEWAY_DEFINE_BLOCK(Q6_K, kBlock)

}  // namespace causeway::kernels
