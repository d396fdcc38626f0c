// What a task of attention goes over, stretch by stretch, so that each one can ask for the beginning of the next.
#pragma once

#include <algorithm>

#include "kernels/attention_plan.h"
#include "kernels/cpu/attention_ahead.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

// Positions [from, to) of a sequence, for some of its kv heads; nothing, where no sequence is named.
struct Reach {
  const KvSequence* sequence = nullptr;
  Heads kv_heads{};
  int64_t from = 0;
  int64_t to = 0;

  bool empty() const { return from >= to; }
  int64_t first_block() const { return from / kBlock * kBlock; }
  CacheBlock BlockAt(const KvLayerView& layer, int64_t first) const {
    return empty() ? CacheBlock(layer) : CacheBlock(layer, *sequence, kv_heads.first, first, from, to);
  }
};

// The part of a tile with which it goes over positions together: `index` 0 all of it, over what its rows share; the
// others its pieces, each over its own rest. In one partition.
inline Reach ReachOf(const AttentionArgs& args, const AttentionTile& tile, Heads kv_heads, int64_t partition,
                     size_t index) {
  const int64_t begin = partition * kAttentionPartition;
  const int64_t end = begin + kAttentionPartition;
  const auto first_row = [](const AttentionPiece& piece) { return piece.sequence->first_position + piece.begin; };
  if (index > 0) {
    const AttentionPiece& piece = tile.pieces[index - 1];
    const int64_t from = std::max(tile.shared, FirstKey(args, first_row(piece)));
    return {piece.sequence, kv_heads, std::max(begin, from), std::min(end, piece.sequence->first_position + piece.end)};
  }
  if (begin >= tile.shared) {
    return {};
  }
  int64_t first = first_row(tile.pieces.front());
  for (const AttentionPiece& piece : tile.pieces) {
    first = std::min(first, first_row(piece));
  }
  return {tile.prefix, kv_heads, std::max(begin, FirstKey(args, first)), std::min(end, tile.shared)};
}

// The first one from part `index` on that is not empty; empty if none is left.
inline Reach ReachFrom(const AttentionArgs& args, const AttentionTile& tile, Heads kv_heads, int64_t partition,
                       size_t index) {
  Reach reach;
  for (; index <= tile.pieces.size() && reach.empty(); ++index) {
    reach = ReachOf(args, tile, kv_heads, partition, index);
  }
  return reach;
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
