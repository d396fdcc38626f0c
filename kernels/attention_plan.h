// How an attention call is cut into tasks: plain data and a pure rule, one for all instruction sets. No cut
// changes a bit of the result; it decides what is read how often, and by how many threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <span>

#include "kernels/ops.h"

namespace causeway::kernels {

class Scratch;

inline constexpr int64_t kAttentionTileRows = 64;       // query rows of a tile, at most
inline constexpr int64_t kAttentionTileQueries = 1024;  // rows times heads of one kv head, at most
inline constexpr int64_t kAttentionTaskQueries = 128;   // of a task of several kv heads, at most: they stay in the L2

// Query rows of a tile with `group` query heads a kv head. Rows share each block: as many as are worth the preparing of
// it, and no more, so that many threads have tasks.
inline int64_t AttentionTileRows(int64_t group) {
  const int64_t rows = std::clamp<int64_t>(128 / group, 16, kAttentionTileRows);
  return std::clamp<int64_t>(kAttentionTileQueries / group, 1, rows);
}

inline int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Rows [begin, end) of a sequence.
struct AttentionPiece {
  const KvSequence* sequence;
  int64_t begin;
  int64_t end;
};

// Query rows that go over keys together: of one sequence, or (cascade) of several that share a prefix. A task takes
// one kv head where rows are many, and several where they are few and what it reads is what it costs: neighbouring
// heads lie side by side in each row of the cache.
struct AttentionTile {
  std::span<const AttentionPiece> pieces;
  int64_t shared = 0;                  // positions read once for all pieces; whole blocks
  const KvSequence* prefix = nullptr;  // in whose memory: the same one for all tiles of a group
  int64_t first_partition = 0;         // the first that any of its rows sees
  int64_t partitions = 0;
  int64_t rows = 0;        // of all pieces
  int64_t task_heads = 1;  // kv heads of a task
  int64_t wave = 0;        // of a split tile: partitions that run at once, before they are merged: bounds the scratch
  int64_t first_task = 0;  // of a whole one: the number of its first task

  int64_t HeadTasks(int64_t kv_heads) const { return DivideUp(kv_heads, task_heads); }
};

struct AttentionPlan {
  std::span<const AttentionTile> split;  // each partition is a task: long tiles where there are few
  std::span<const AttentionTile> whole;
  int64_t whole_tasks = 0;

  // The tile of a whole one's task.
  const AttentionTile& TileOf(int64_t task) const {
    const auto starts_behind = [](int64_t of, const AttentionTile& tile) { return of < tile.first_task; };
    return *std::prev(std::upper_bound(whole.begin(), whole.end(), task, starts_behind));
  }
};

// `scratch.Plan` holds the result: valid until the next call.
AttentionPlan PlanAttention(const AttentionArgs& args, int threads, Scratch& scratch);

// The first position that a query at `position` sees.
inline int64_t FirstKey(const AttentionArgs& args, int64_t position) {
  return args.window > 0 && position >= args.window ? position - args.window + 1 : 0;
}

// Puts ungrouped sequences that begin with the same segments in memory into share groups of their own, so that the
// k-segment spelling of a prefix needs no more than its segments. Ids ascend from `first_group`.
void GroupBySegments(std::span<KvSequence> sequences, int32_t first_group);

}  // namespace causeway::kernels
