// From geometry and spans to what kernels read: one place knows both sides.
#pragma once

#include "kernels/ops.h"
#include "memory/kv_geometry.h"
#include "memory/kv_layout.h"

namespace causeway::memory {

// Where layer `layer` of a sequence lies, from its base on; a layout with several ranges needs their `capacity`.
template <KvLayoutPolicy Layout = KvLayout>
inline kernels::KvLayerView LayerView(const KvGeometry& geometry, kernels::KvFormat format, int64_t layer,
                                      int64_t capacity = 0) {
  const KvRows rows = Layout::Rows(geometry, capacity, layer);
  return {.format = format,
          .page_bytes = rows.page_bytes,
          .tokens_per_page = rows.tokens_per_page,
          .k_offset = rows.k_offset,
          .v_offset = rows.v_offset,
          .row_bytes = rows.row_stride,
          .kv_heads = geometry.shape.kv_heads,
          .head_dim = geometry.shape.head_dim};
}

}  // namespace causeway::memory
