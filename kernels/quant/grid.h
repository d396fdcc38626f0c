// What an encoder decides first: the numbers that the values of a block may become, before a code is chosen for any.
// Rounding to nearest takes the nearest code of each value; GPTQ (model/quantize/gptq.h) takes them one column after
// the other and moves what is left of the row in between, so the two halves of encoding stand apart here.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/quant/format.h"

namespace causeway::kernels {

// x to the nearest whole number in [low, high], ties to even; NaN to low. The bounds are far below 2^22.
inline int NearestCode(float x, int low, int high) {
  constexpr float kToWhole = 12582912.0F;  // 1.5 * 2^23: adding it leaves no fraction
  const auto least = static_cast<float>(low);
  const float inside = x > least ? std::min(x, static_cast<float>(high)) : least;
  return static_cast<int>((inside + kToWhole) - kToWhole);
}
// Index of the entry nearest to x. `table` ascends.
int NearestEntry(float x, std::span<const float> table);

// value = step * code + shift, or step * table[code]; `group` neighbours share step and shift.
struct BlockGrid {
  static constexpr int kMaxGroups = 16;

  int group = 32;
  int low = 0;  // least and greatest code, where there is no table
  int high = 0;
  std::span<const float> table = {};  // ascends; codes are places in it
  float step[kMaxGroups] = {};
  float shift[kMaxGroups] = {};
  // What the block stores of them, as its format means it.
  uint16_t d = 0;
  uint16_t dmin = 0;
  int scales[kMaxGroups] = {};
  int minima[kMaxGroups] = {};

  // The code for x at place i of the block.
  int CodeOf(int i, float x) const {
    const int at = i / group;
    const float code = step[at] == 0.0F ? 0.0F : (x - shift[at]) / step[at];
    return table.empty() ? NearestCode(code, low, high) : NearestEntry(code, table);
  }
  float ValueOf(int i, int code) const {
    const int at = i / group;
    const float stored = table.empty() ? static_cast<float>(code) : table[static_cast<size_t>(code)];
    return step[at] * stored + shift[at];
  }
};

// The two halves of encoding one block of a format whose container is GGUF. Plain functions, any thread.
struct GridFormat {
  FormatId id;
  // Scales that leave little of the sum over the block of importance * (x - value)^2. Both are block_elements long;
  // importance is finite and not negative.
  void (*fit)(const float* x, const float* importance, BlockGrid& grid);
  // The bytes of a block, from codes of CodeOf.
  void (*pack)(const BlockGrid& grid, const int* codes, std::byte* block);
};

std::span<const GridFormat> GridFormats();
// Null for floats, and for formats that no GGUF file holds.
const GridFormat* FindGrid(FormatId id);

// kMaxBlockElements ones: the importance where nothing is known.
const float* EqualImportance();

}  // namespace causeway::kernels
