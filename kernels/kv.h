// What kernels know of the KV cache: where the rows of a sequence lie, and who shares them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace causeway::kernels {

enum class KvFormat : uint8_t { kF32, kF16, kBF16 };

inline int64_t KvFormatBytes(KvFormat format) { return format == KvFormat::kF32 ? 4 : 2; }

// So many rows, from a multiple of it on, are neighbours in memory: it divides every tokens_per_page.
inline constexpr int64_t kKvRun = 16;

// Where one layer's K and V rows lie, affine in the position: the row of position t is at
// base + (t / T) * page_bytes + {k,v}_offset + (t % T) * row_bytes. In the page-slab layout
// ([layer][K|V][token][head][dim]) rows of a layer are neighbours; memory/kv_layout.h has the others.
struct KvLayerView {
  KvFormat format = KvFormat::kF32;
  int64_t page_bytes = 0;
  int64_t tokens_per_page = 0;  // T, a multiple of kKvRun
  int64_t k_offset = 0;         // bytes from the start of a page to this layer's K rows
  int64_t v_offset = 0;
  int64_t row_bytes = 0;  // from a row to the next one; at least kv_heads * head_dim * element size
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
};

// One contiguous virtual range of whole pages. A sequence is k >= 1 of these, ascending, without gaps.
struct KvSegment {
  std::byte* base = nullptr;   // the page that holds first_position
  int64_t first_position = 0;  // a multiple of T
  int64_t positions = 0;       // capacity in positions (the last segment may hold fewer valid rows)
};

// The rows of one sequence in this call: positions [first_position, first_position + rows).
//
// Sequences of one call with the same share_group hold equal rows at positions [0, shared_positions), written before
// the call, wherever they lie: the same segment in each, or the same pages mapped at several addresses. Attention may
// then read them once for all, in the memory of any; the bits are those of reading each sequence's own. Where members
// name different lengths the least counts.
struct KvSequence {
  std::span<const KvSegment> segments;
  int64_t first_row = 0;  // its first row in the step's [m, ...] activations
  int64_t rows = 0;
  int64_t first_position = 0;
  int64_t shared_positions = 0;
  int32_t share_group = -1;  // negative: shares nothing
};

}  // namespace causeway::kernels
