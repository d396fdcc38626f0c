// Where the rows of a sequence lie in its pages: three layouts behind one static interface, chosen when compiling.
//
// All are affine in the position, so one kernel reads them all, without a block table. What differs is how far a
// layer's rows lie apart, and how many pages must be mapped before the next token fits:
//
//   layout      a page holds                       neighbours of a row            a sequence grows by
//   slab        [layer][K|V][token][head][dim]     T rows of its layer, K or V    1 page
//   per layer   [token][head][dim], of one tensor  all rows of its layer, K or V  2 * layers pages
//   sliced      [token][layer][K|V][head][dim]     the other layers' of its token 1 page
//
// Per layer is vAttention's layout (a tensor for each layer's K and V), sliced its "tensor slicing" (Prabhu et al.
// 2025); `causeway bench kv` compares the three. The cache uses KvLayout.
#pragma once

#include <concepts>
#include <cstdint>
#include <string_view>

#include "memory/kv_geometry.h"

namespace causeway::memory {

// The rows of one layer, from the base of the sequence's memory.
struct KvRows {
  int64_t page_bytes = 0;
  int64_t tokens_per_page = 0;  // T, a multiple of 16
  int64_t k_offset = 0;
  int64_t v_offset = 0;
  int64_t row_stride = 0;  // bytes from a token's row to the next one's in the same page

  int64_t KAt(int64_t position) const { return k_offset + InPages(position); }
  int64_t VAt(int64_t position) const { return v_offset + InPages(position); }

 private:
  int64_t InPages(int64_t position) const {
    return position / tokens_per_page * page_bytes + position % tokens_per_page * row_stride;
  }
};

// A layout says how many ranges of pages a sequence has, each mapped from its start on as the sequence grows; how many
// of them a layer reads; how many tokens fit in a page of each; and where the rows are. `capacity`: positions that the
// ranges have addresses for.
template <typename L>
concept KvLayoutPolicy = requires(const KvGeometry& geometry, int64_t capacity, int64_t layer) {
  { L::kName } -> std::convertible_to<std::string_view>;
  { L::Ranges(geometry) } -> std::same_as<int64_t>;
  { L::RangesOfLayer(geometry) } -> std::same_as<int64_t>;
  { L::TokensPerPage(geometry) } -> std::same_as<int64_t>;
  { L::Rows(geometry, capacity, layer) } -> std::same_as<KvRows>;
};

struct SlabLayout {
  static constexpr std::string_view kName = "slab";
  static int64_t Ranges(const KvGeometry&) { return 1; }
  static int64_t RangesOfLayer(const KvGeometry&) { return 1; }
  static int64_t TokensPerPage(const KvGeometry& geometry) { return geometry.tokens_per_page; }
  static KvRows Rows(const KvGeometry& geometry, int64_t /*capacity*/, int64_t layer) {
    const int64_t slab = geometry.tokens_per_page * geometry.row_bytes;
    return {geometry.page_bytes, geometry.tokens_per_page, 2 * layer * slab, (2 * layer + 1) * slab,
            geometry.row_bytes};
  }
};

struct PerLayerLayout {
  static constexpr std::string_view kName = "per_layer";
  static int64_t Ranges(const KvGeometry& geometry) { return 2 * geometry.shape.layers; }
  static int64_t RangesOfLayer(const KvGeometry&) { return 2; }
  // In steps of 16, as everywhere: attention's blocks never straddle a page.
  static int64_t TokensPerPage(const KvGeometry& geometry) {
    return geometry.page_bytes / geometry.row_bytes / 16 * 16;
  }
  static KvRows Rows(const KvGeometry& geometry, int64_t capacity, int64_t layer) {
    const int64_t tokens = TokensPerPage(geometry);
    const int64_t range = (capacity + tokens - 1) / tokens * geometry.page_bytes;
    return {geometry.page_bytes, tokens, 2 * layer * range, (2 * layer + 1) * range, geometry.row_bytes};
  }
};

struct SlicedLayout {
  static constexpr std::string_view kName = "sliced";
  static int64_t Ranges(const KvGeometry&) { return 1; }
  static int64_t RangesOfLayer(const KvGeometry&) { return 1; }
  static int64_t TokensPerPage(const KvGeometry& geometry) { return geometry.tokens_per_page; }
  static KvRows Rows(const KvGeometry& geometry, int64_t /*capacity*/, int64_t layer) {
    return {geometry.page_bytes, geometry.tokens_per_page, 2 * layer * geometry.row_bytes,
            (2 * layer + 1) * geometry.row_bytes, geometry.BytesPerToken()};
  }
};

// What the cache and the model runner are compiled for. The cache maps one range a sequence, which slab and sliced
// have.
using KvLayout = SlabLayout;

// Calls visit with one value of each layout: what tests and benchmarks iterate.
template <typename Visit>
void ForEachLayout(Visit&& visit) {
  visit(SlabLayout{});
  visit(PerLayerLayout{});
  visit(SlicedLayout{});
}

// ---- What follows from a layout ----------------------------------------------------------------------

// Pages of one of a sequence's ranges that `tokens` need.
template <KvLayoutPolicy L>
int64_t PagesOfRange(const KvGeometry& geometry, int64_t tokens) {
  const int64_t tokens_per_page = L::TokensPerPage(geometry);
  return (tokens + tokens_per_page - 1) / tokens_per_page;
}
// Pages of all ranges: what a sequence of `tokens` has mapped.
template <KvLayoutPolicy L>
int64_t MappedPages(const KvGeometry& geometry, int64_t tokens) {
  return L::Ranges(geometry) * PagesOfRange<L>(geometry, tokens);
}
// Pages that one layer of a decode step reads from.
template <KvLayoutPolicy L>
int64_t TouchedPages(const KvGeometry& geometry, int64_t tokens) {
  return L::RangesOfLayer(geometry) * PagesOfRange<L>(geometry, tokens);
}
// Bytes mapped beyond those of the tokens.
template <KvLayoutPolicy L>
int64_t WasteBytes(const KvGeometry& geometry, int64_t tokens) {
  return MappedPages<L>(geometry, tokens) * geometry.page_bytes - tokens * geometry.BytesPerToken();
}
// Bytes of address space for `capacity` positions.
template <KvLayoutPolicy L>
int64_t AddressBytes(const KvGeometry& geometry, int64_t capacity) {
  return MappedPages<L>(geometry, capacity) * geometry.page_bytes;
}

}  // namespace causeway::memory
