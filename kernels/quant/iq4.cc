// ggml's IQ4 formats: four-bit indices into a fixed table of sixteen numbers, denser near zero.
//
// Source: the block structs and the table kvalues_iq4nl of ggml (ggml-common.h). IQ4_NL has a half-precision scale for
// 32 values; IQ4_XS has 256 values in eight groups of 32 with six-bit scales, minus 32. Nibbles lie as in Q4_0.
#include <algorithm>
#include <cmath>
#include <span>

#include "kernels/quant/blocks.h"
#include "kernels/quant/fit.h"
#include "kernels/quant/float16.h"

namespace causeway::kernels {
namespace {

constexpr int kGroup = 32;
constexpr int kSuper = 256;
constexpr float kTable[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

struct BlockIQ4_NL {
  uint16_t scale;
  uint8_t nibbles[kGroup / 2];
};
struct BlockIQ4_XS {
  uint16_t d;
  uint16_t scales_high;   // bits 4 and 5 of group g at 2 g
  uint8_t scales_low[4];  // bits 0 to 3, two groups a byte
  uint8_t nibbles[kSuper / 2];
};
static_assert(sizeof(BlockIQ4_NL) == 18 && sizeof(BlockIQ4_XS) == 136);

void DecodeGroup(float scale, const uint8_t* nibbles, float* values) {
  for (int i = 0; i < kGroup / 2; ++i) {
    values[i] = scale * kTable[nibbles[i] & 0xf];
    values[i + kGroup / 2] = scale * kTable[nibbles[i] >> 4];
  }
}

void PackGroup(const int* codes, uint8_t* nibbles) {
  for (int i = 0; i < kGroup / 2; ++i) {
    nibbles[i] = static_cast<uint8_t>(codes[i] | (codes[i + kGroup / 2] << 4));
  }
}

void DecodeOneIQ4_NL(const BlockIQ4_NL& block, float* values) {
  DecodeGroup(HalfToFloat(block.scale), block.nibbles, values);
}

void FitOneIQ4_NL(const float* x, const float* importance, BlockGrid& grid) {
  grid.table = kTable;
  grid.d = FloatToHalf(FitTable({x, kGroup}, {importance, kGroup}, kTable));
  grid.step[0] = HalfToFloat(grid.d);
}

void PackOneIQ4_NL(const BlockGrid& grid, const int* codes, BlockIQ4_NL& block) {
  block.scale = grid.d;
  PackGroup(codes, block.nibbles);
}

void DecodeOneIQ4_XS(const BlockIQ4_XS& block, float* values) {
  const float d = HalfToFloat(block.d);
  for (int group = 0; group < kSuper / kGroup; ++group) {
    const int low = (block.scales_low[group / 2] >> (group % 2 * 4)) & 0xf;
    const int high = (block.scales_high >> (group * 2)) & 3;
    const float scale = d * static_cast<float>((low | (high << 4)) - 32);
    DecodeGroup(scale, block.nibbles + group * kGroup / 2, values + group * kGroup);
  }
}

void FitOneIQ4_XS(const float* x, const float* importance, BlockGrid& grid) {
  constexpr int kGroups = kSuper / kGroup;
  float fits[kGroups];
  for (int group = 0; group < kGroups; ++group) {
    fits[group] = FitTable({x + group * kGroup, kGroup}, {importance + group * kGroup, kGroup}, kTable);
  }
  grid.table = kTable;
  grid.d = FloatToHalf(FitScale(fits, {EqualImportance(), kGroups}, -32, 31));
  const float d = HalfToFloat(grid.d);
  for (int group = 0; group < kGroups; ++group) {
    grid.scales[group] = d == 0.0F ? 0 : NearestCode(fits[group] / d, -32, 31);
    grid.step[group] = d * static_cast<float>(grid.scales[group]);
  }
}

void PackOneIQ4_XS(const BlockGrid& grid, const int* codes, BlockIQ4_XS& block) {
  block.d = grid.d;
  for (int group = 0; group < kSuper / kGroup; ++group) {
    const int stored = grid.scales[group] + 32;
    block.scales_low[group / 2] |= static_cast<uint8_t>((stored & 0xf) << (group % 2 * 4));
    block.scales_high = static_cast<uint16_t>(block.scales_high | (stored >> 4) << (group * 2));
    PackGroup(codes + group * kGroup, block.nibbles + group * kGroup / 2);
  }
}

}  // namespace

CAUSEWAY_DEFINE_BLOCK(IQ4_NL, kGroup)
CAUSEWAY_DEFINE_BLOCK(IQ4_XS, kSuper)

}  // namespace causeway::kernels
