// Addresses of KV rows: the page-slab formula, shared by the reference and the fast kernels.
#pragma once

#include "kernels/ops.h"

namespace causeway::kernels {

// The segment that holds `position`. Segments are few (one without sharing), so a scan is the fast way.
inline const KvSegment& SegmentOf(const KvSequence& sequence, int64_t position) {
  const KvSegment* segment = sequence.segments.data();
  while (position >= segment->first_position + segment->positions) {
    ++segment;
  }
  return *segment;
}

// Start of the page that holds `position`; `row` receives the row inside the page.
inline std::byte* PageOf(const KvLayerView& layer, const KvSequence& sequence, int64_t position, int64_t& row) {
  const KvSegment& segment = SegmentOf(sequence, position);
  const int64_t offset = position - segment.first_position;
  row = offset % layer.tokens_per_page;
  return segment.base + offset / layer.tokens_per_page * layer.page_bytes;
}

inline std::byte* KRow(const KvLayerView& layer, const KvSequence& sequence, int64_t position) {
  int64_t row = 0;
  std::byte* const page = PageOf(layer, sequence, position, row);
  return page + layer.k_offset + row * layer.row_bytes;
}

inline std::byte* VRow(const KvLayerView& layer, const KvSequence& sequence, int64_t position) {
  int64_t row = 0;
  std::byte* const page = PageOf(layer, sequence, position, row);
  return page + layer.v_offset + row * layer.row_bytes;
}

}  // namespace causeway::kernels
