// Weights become panels (kernels/packed.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/quant/group_blocks.h"
#include "kernels/weight_view.h"

namespace causeway::kernels {

// Packs rows into `target`, PackedBytes long and 64-byte aligned; each source byte is read once. The view must be in
// rows, of a format that is packed. Any thread; the rows of a weight may be packed by several, whole panels each.
void PackPanels(const WeightView& rows, std::byte* target);

// Rows of a format of quant/group_blocks.h before they are in its blocks.
struct CodedRows {
  FormatId format;
  int64_t rows;
  int64_t columns;
  const uint8_t* codes;      // [rows, columns]
  const GroupScale* blocks;  // [rows, columns / codes of a block]: what each would hold beside its codes
};
// The same panels as of the blocks.
void PackPanels(const CodedRows& rows, std::byte* target);

// Some columns of one panel, of a format of uniform codes, before they are in its blocks.
struct CodedPanel {
  FormatId format;
  int64_t columns;           // of whole rows
  int64_t first, count;      // columns that are here, in whole blocks
  const uint32_t* quads;     // [count / 4][16 rows]: codes of four neighbours, the first one in the lowest byte
  const GroupScale* blocks;  // [16 rows][count / codes of a block]
};
// What the panel holds of these columns, the same as of the blocks where rows that are not there have zeros everywhere.
// The columns of a panel may be packed by several threads.
void PackColumns(const CodedPanel& part, std::byte* panel);

}  // namespace causeway::kernels
