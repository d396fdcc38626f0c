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

}  // namespace causeway::kernels
