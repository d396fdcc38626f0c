// From geometry and spans to what kernels read: one place knows both sides.
#pragma once

#include "kernels/ops.h"
#include "memory/kv_geometry.h"

namespace causeway::memory {

// Where layer `layer` lies in every page.
inline kernels::KvLayerView LayerView(const KvGeometry& geometry, kernels::KvFormat format, int64_t layer) {
  return {.format = format,
          .page_bytes = geometry.page_bytes,
          .tokens_per_page = geometry.tokens_per_page,
          .k_offset = geometry.KOffset(layer),
          .v_offset = geometry.VOffset(layer),
          .row_bytes = geometry.row_bytes,
          .kv_heads = geometry.shape.kv_heads,
          .head_dim = geometry.shape.head_dim};
}

}  // namespace causeway::memory
