// The shape of a page: how many tokens of which layers lie in it.
//
// A token's row is affine in its position, so there is no block table; kv_layout.h has the formula.
#pragma once

#include <cstdint>

#include "base/result.h"

namespace causeway::memory {

struct KvShape {
  int64_t layers = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t element_bytes = 0;  // 4: f32; 2: f16, bf16
};

// Invariant: layers * 2 * tokens_per_page * row_bytes <= page_bytes, and page_bytes is a multiple of the
// backend's granularity.
struct KvGeometry {
  KvShape shape;
  int64_t page_bytes = 0;
  int64_t tokens_per_page = 0;  // T: a multiple of 16 in [16, 64]
  int64_t row_bytes = 0;        // kv_heads * head_dim * element_bytes

  int64_t BytesPerToken() const { return shape.layers * 2 * row_bytes; }
  int64_t PagesFor(int64_t tokens) const { return (tokens + tokens_per_page - 1) / tokens_per_page; }
};

// Chooses T and the page size: about 2 MiB for models that fill it, less for small ones, a multiple of
// `granularity`, T as large as fits within [16, 64]. Fails where 16 tokens exceed 32 MiB.
Result<KvGeometry> ChooseGeometry(const KvShape& shape, int64_t granularity);

}  // namespace causeway::memory
