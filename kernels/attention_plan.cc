#include "kernels/attention_plan.h"

#include <algorithm>
#include <limits>

#include "kernels/scratch.h"

namespace causeway::kernels {
namespace {

constexpr int64_t kCascadeFrom = 64;    // shared positions in sight below which each sequence reads its own
constexpr int64_t kLongPartitions = 4;  // tiles with more may be split
constexpr int64_t kTasksOfAThread = 4;  // of a call, or of a wave of a split tile: so that threads end together

// Lays pieces and tiles out behind each other in memory that holds one of each per query row.
class Builder {
 public:
  Builder(const AttentionArgs& args, int threads, AttentionPiece* pieces, AttentionTile* tiles)
      : args_(args), threads_(threads), next_piece_(pieces), tiles_(tiles) {}

  // Adds the sequences of one share group, or a single one.
  void AddGroup(std::span<const int32_t> members) {
    const int64_t shared = members.size() > 1 ? SharedInSight(members) : 0;
    if (shared > 0) {
      Cut(members, shared, GroupTileRows(members, shared));
      return;
    }
    for (const int32_t& member : members) {
      Cut({&member, 1}, 0, MaxTileRows());
    }
  }

  std::span<AttentionTile> tiles() const { return {tiles_, static_cast<size_t>(tile_count_)}; }

 private:
  const KvSequence& At(int32_t member) const { return args_.sequences[static_cast<size_t>(member)]; }

  // Whole blocks that every member shares and has behind it; 0 where too few of them are in sight to pay.
  int64_t SharedInSight(std::span<const int32_t> members) const {
    int64_t shared = std::numeric_limits<int64_t>::max();
    int64_t first_seen = shared;
    for (const int32_t member : members) {
      const KvSequence& sequence = At(member);
      shared = std::min({shared, sequence.shared_positions, sequence.first_position});
      first_seen = std::min(first_seen, FirstKey(args_, sequence.first_position));
    }
    shared = shared / kAttentionBlock * kAttentionBlock;
    return shared - first_seen >= kCascadeFrom ? shared : 0;
  }

  int64_t MaxTileRows() const { return AttentionTileRows(args_.heads / args_.layer.kv_heads); }

  // Fewer rows where whole tiles would leave threads without work and are too short to be split.
  int64_t GroupTileRows(std::span<const int32_t> members, int64_t shared) const {
    if (shared > kLongPartitions * kAttentionPartition) {
      return MaxTileRows();
    }
    int64_t rows = 0;
    for (const int32_t member : members) {
      rows += At(member).rows;
    }
    return std::clamp(rows * args_.layer.kv_heads / threads_, int64_t{1}, MaxTileRows());
  }

  // Cuts the rows of all members, one behind the other, into tiles of `tile_rows`.
  void Cut(std::span<const int32_t> members, int64_t shared, int64_t tile_rows) {
    int64_t open = 0;  // rows of the tile that is being filled
    for (const int32_t member : members) {
      const KvSequence& sequence = At(member);
      for (int64_t begin = 0; begin < sequence.rows;) {
        const int64_t end = std::min(sequence.rows, begin + tile_rows - open);
        AddPiece({&sequence, begin, end}, open == 0, shared, At(members.front()));
        open = (open + end - begin) % tile_rows;
        begin = end;
      }
    }
  }

  void AddPiece(const AttentionPiece& piece, bool opens, int64_t shared, const KvSequence& prefix) {
    *next_piece_ = piece;
    const int64_t first = FirstKey(args_, piece.sequence->first_position + piece.begin) / kAttentionPartition;
    const int64_t end = (piece.sequence->first_position + piece.end - 1) / kAttentionPartition + 1;
    if (opens) {
      tiles_[tile_count_++] = {.pieces = {next_piece_, 1},
                               .shared = shared,
                               .prefix = &prefix,
                               .first_partition = first,
                               .partitions = end - first};
    } else {
      AttentionTile& tile = tiles_[tile_count_ - 1];
      const int64_t tile_end = std::max(tile.first_partition + tile.partitions, end);
      tile.pieces = {tile.pieces.data(), tile.pieces.size() + 1};
      tile.first_partition = std::min(tile.first_partition, first);
      tile.partitions = tile_end - tile.first_partition;
    }
    tiles_[tile_count_ - 1].rows += piece.end - piece.begin;
    ++next_piece_;
  }

  const AttentionArgs& args_;
  const int64_t threads_;
  AttentionPiece* next_piece_;
  AttentionTile* tiles_;
  int64_t tile_count_ = 0;
};

// Kv heads of a task where `units` parts of the call (tiles, or partitions of a tile) can have tasks of their own.
int64_t TaskHeads(const AttentionArgs& args, const AttentionTile& tile, int64_t units, int64_t threads) {
  const int64_t kv_heads = args.layer.kv_heads;
  const int64_t fitting = kAttentionTaskQueries / (tile.rows * (args.heads / kv_heads));
  const int64_t feeding = threads > 1 ? units * kv_heads / (kTasksOfAThread * threads) : kv_heads;
  return std::clamp(std::min(fitting, feeding), int64_t{1}, kv_heads);
}

// Positions of the leading segments that both have in the same memory; a sequence's last one is its own.
int64_t CommonSegmentPositions(const KvSequence& a, const KvSequence& b) {
  int64_t positions = 0;
  for (size_t i = 0; i + 1 < a.segments.size() && i + 1 < b.segments.size(); ++i) {
    if (a.segments[i].base != b.segments[i].base || a.segments[i].positions != b.segments[i].positions) {
      break;
    }
    positions += a.segments[i].positions;
  }
  return positions;
}

template <typename T>
T* Take(std::byte*& memory, int64_t count) {
  T* const taken = reinterpret_cast<T*>(memory);
  memory += count * static_cast<int64_t>(sizeof(T));
  return taken;
}

}  // namespace

AttentionPlan PlanAttention(const AttentionArgs& args, int threads, Scratch& scratch) {
  int64_t rows = 0;
  for (const KvSequence& sequence : args.sequences) {
    rows += sequence.rows;
  }
  const auto count = static_cast<int64_t>(args.sequences.size());
  std::byte* memory = scratch.Plan(rows * static_cast<int64_t>(sizeof(AttentionTile) + sizeof(AttentionPiece)) +
                                   count * static_cast<int64_t>(sizeof(int32_t)));
  auto* const tiles = Take<AttentionTile>(memory, rows);
  auto* const pieces = Take<AttentionPiece>(memory, rows);
  const std::span order(Take<int32_t>(memory, count), static_cast<size_t>(count));
  const auto group = [&](int32_t i) { return args.sequences[static_cast<size_t>(i)].share_group; };
  for (size_t i = 0; i < order.size(); ++i) {
    order[i] = static_cast<int32_t>(i);
  }
  std::sort(order.begin(), order.end(),
            [&](int32_t a, int32_t b) { return group(a) != group(b) ? group(a) < group(b) : a < b; });

  Builder builder(args, threads, pieces, tiles);
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin + 1;
    while (group(order[begin]) >= 0 && end < order.size() && group(order[end]) == group(order[begin])) {
      ++end;
    }
    builder.AddGroup(order.subspan(begin, end - begin));
    begin = end;
  }

  const std::span<AttentionTile> all = builder.tiles();
  const auto units = static_cast<int64_t>(all.size());
  int64_t tasks = 0;  // where each takes all the heads that fit
  for (AttentionTile& tile : all) {
    tile.task_heads = TaskHeads(args, tile, units, 1);
    tasks += tile.HeadTasks(args.layer.kv_heads);
    tile.task_heads = TaskHeads(args, tile, units, threads);
  }
  size_t split = 0;
  if (tasks < 2 * int64_t{threads} && threads > 1) {
    const auto is_long = [](const AttentionTile& tile) { return tile.partitions > kLongPartitions; };
    split = static_cast<size_t>(std::partition(all.begin(), all.end(), is_long) - all.begin());
  }
  for (AttentionTile& tile : all.first(split)) {
    tile.task_heads = TaskHeads(args, tile, tile.partitions, threads);
    // Waves of nearly equal length: a short one behind the others would leave threads without work.
    const int64_t least = DivideUp(kTasksOfAThread * threads, tile.HeadTasks(args.layer.kv_heads));
    tile.wave = DivideUp(tile.partitions, std::max<int64_t>(1, tile.partitions / least));
  }
  int64_t whole_tasks = 0;
  for (AttentionTile& tile : all.subspan(split)) {
    tile.first_task = whole_tasks;
    whole_tasks += tile.HeadTasks(args.layer.kv_heads);
  }
  return {.split = all.first(split), .whole = all.subspan(split), .whole_tasks = whole_tasks};
}

void GroupBySegments(std::span<KvSequence> sequences, int32_t first_group) {
  int32_t next_group = first_group;
  for (size_t i = 0; i < sequences.size(); ++i) {
    KvSequence& leader = sequences[i];
    if (leader.share_group >= 0) {
      continue;
    }
    for (KvSequence& other : sequences.subspan(i + 1)) {
      const int64_t common = other.share_group < 0 ? CommonSegmentPositions(leader, other) : 0;
      if (common > 0) {
        other.share_group = leader.share_group = next_group;
        other.shared_positions = leader.shared_positions = common;
      }
    }
    next_group += leader.share_group == next_group ? 1 : 0;
  }
}

}  // namespace causeway::kernels
