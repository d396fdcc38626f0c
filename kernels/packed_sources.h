// How groups of a format that is packed are read from its rows: one row of a table each.
#pragma once

#include "kernels/packed.h"
#include "kernels/quant/group_blocks.h"

namespace causeway::kernels {

// One group of one row on its way into a panel. What a kind has no place for is not set.
struct SourceGroup {
  alignas(32) uint8_t codes[kGroup];  // as the panel stores them, unsigned
  uint16_t scale;                     // half precision
  uint16_t minimum;                   // half precision, to be taken off
  uint8_t scales[2];                  // bytes, of each half; of six bits the first one only
  uint8_t minima[2];
  uint16_t d, dmin;                        // half precision, what bytes are multiplied with
  uint16_t half_scales[2], half_zeros[2];  // half precision, of each half
  float wide_scale;
  uint8_t zero;
};

struct PackedFormat {
  FormatId format;
  Packing packing;
  void (*read)(const std::byte* row, int64_t group, SourceGroup& out);
  // The same of a row that is not in blocks yet (CodedRows); null: blocks are not those of quant/group_blocks.h.
  void (*read_codes)(const uint8_t* codes, const GroupScale* blocks, int64_t group, SourceGroup& out) = nullptr;
};

// Null: the format is not packed.
const PackedFormat* FindPackedFormat(FormatId format);

}  // namespace causeway::kernels
