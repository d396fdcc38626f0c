// Causal attention by online softmax (Milakov and Gimelshein 2018; Dao et al. 2022), its order fixed by
// absolute position.
//
// Keys are taken in blocks of kAttentionBlock positions; partitions of kAttentionPartition positions start
// from an empty state and are merged in ascending order, always, so that a long decode may spread its
// partitions over threads and still give the bits of one thread. What a query at position p reads is a
// function of p alone: blocks that it sees in part are masked by position, and rows that no one has written
// yet are never touched.
//
// A task is (sequence, kv head, a tile of query rows) or, for few rows, also one partition. Its queries
// share each unpacked block of K and V.
#include <algorithm>
#include <limits>

#include "kernels/cpu/kv_rows.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/tile.h"
#include "kernels/scratch.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr int64_t kBlock = kAttentionBlock;
constexpr int64_t kTileRows = 16;  // query rows of a task
constexpr int64_t kFewRows = 4;    // up to here partitions are tasks of their own
// Queries whose scores, and whose sums of V, share the loads of a block: what the registers hold.
#if defined(CAUSEWAY_ISA_AVX512)
constexpr int kScoreRows = 4;
constexpr int kSumRows = 4;
#else
constexpr int kScoreRows = 3;
constexpr int kSumRows = 2;
#endif
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// Running softmax of one query: weights relative to `largest`, their sum, and the weighted sum of V.
struct State {
  float largest;
  float total;
  float* sum;  // [padded head_dim]
};

struct Dims {
  int64_t head_dim;
  int64_t padded;  // head_dim up to whole vectors
  int64_t group;   // query heads of one kv head
};

Dims DimsOf(const AttentionArgs& args) {
  return {args.layer.head_dim, RoundUpToLanes(args.layer.head_dim), args.heads / args.layer.kv_heads};
}

int64_t FirstKey(const AttentionArgs& args, int64_t position) {
  return args.window > 0 && position >= args.window ? position - args.window + 1 : 0;
}

void Clear(const State& state, State& out, int64_t padded) {
  out = state;
  out.largest = kMinusInfinity;
  out.total = 0.0F;
  std::memset(out.sum, 0, static_cast<size_t>(padded) * sizeof(float));
}

inline float ExpOf(float x) {
  float lanes[kLanes];
  Store(lanes, Exp(Set1(x)));
  return lanes[0];
}

inline void Rescale(float* sum, int64_t padded, float factor) {
  const Vec f = Set1(factor);
  for (int64_t i = 0; i < padded; i += kLanes) {
    Store(sum + i, Mul(Load(sum + i), f));
  }
}

// into = into merged with `part`, which lies behind it.
void Merge(State& into, const State& part, int64_t padded) {
  if (part.total == 0.0F) {
    return;
  }
  const float largest = std::max(into.largest, part.largest);
  const float old_factor = into.total == 0.0F ? 0.0F : ExpOf(into.largest - largest);
  const float new_factor = ExpOf(part.largest - largest);
  for (int64_t i = 0; i < padded; i += kLanes) {
    Store(into.sum + i, Fma(Load(part.sum + i), Set1(new_factor), Mul(Load(into.sum + i), Set1(old_factor))));
  }
  into.total = into.total * old_factor + part.total * new_factor;
  into.largest = largest;
}

// One unpacked block: rows of K and V as float32, [kBlock][padded].
struct Block {
  int64_t first;  // absolute position of row 0
  int64_t rows;   // valid ones
  const float* k;
  const float* v;
};

void UnpackBlock(const AttentionArgs& args, const KvSequence& sequence, int64_t kv_head, int64_t first, int64_t rows,
                 int64_t padded, float* memory, Block& block) {
  const KvLayerView& layer = args.layer;
  const int64_t head_offset = kv_head * layer.head_dim * KvFormatBytes(layer.format);
  float* const k = memory;
  float* const v = memory + kBlock * padded;
  // A block never straddles a page or a segment: both are multiples of kBlock positions.
  const std::byte* k_row = KRow(layer, sequence, first) + head_offset;
  const std::byte* v_row = VRow(layer, sequence, first) + head_offset;
  for (int64_t i = 0; i < rows; ++i) {
    DecodeKv(layer.format, k_row + i * layer.row_bytes, k + i * padded, layer.head_dim);
    DecodeKv(layer.format, v_row + i * layer.row_bytes, v + i * padded, layer.head_dim);
  }
  std::memset(k + rows * padded, 0, static_cast<size_t>((kBlock - rows) * padded) * sizeof(float));
  block = {first, rows, k, v};
}

// Scores of some queries against the block: [queries][kBlock].
template <int M>
void ScoresOf(const float* q, int64_t padded, const Block& block, float* scores) {
  for (int64_t key = 0; key < kBlock; key += 4) {
    float sums[M][4];
    Tile<M, 4>(q, padded, block.k + key * padded, padded, padded, sums);
    for (int m = 0; m < M; ++m) {
      std::memcpy(scores + m * kBlock + key, sums[m], sizeof(sums[m]));
    }
  }
}

void AllScores(const float* q, int64_t queries, int64_t padded, const Block& block, float* scores) {
  int64_t m = 0;
  for (; m + kScoreRows <= queries; m += kScoreRows) {
    ScoresOf<kScoreRows>(q + m * padded, padded, block, scores + m * kBlock);
  }
  for (; m < queries; ++m) {
    ScoresOf<1>(q + m * padded, padded, block, scores + m * kBlock);
  }
}

// Scales, caps and masks the scores of one query to rows [low, high) of the block; returns the largest.
float FinishScores(const AttentionArgs& args, float* scores, int64_t low, int64_t high) {
  Vec largest = Set1(kMinusInfinity);
  for (int64_t i = 0; i < kBlock; i += kLanes) {
    Vec s = Mul(Load(scores + i), Set1(args.scale));
    if (args.softcap > 0) {
      s = Mul(Set1(args.softcap), Tanh(Div(s, Set1(args.softcap))));
    }
    Store(scores + i, s);
  }
  for (int64_t i = 0; i < low; ++i) {
    scores[i] = kMinusInfinity;
  }
  for (int64_t i = high; i < kBlock; ++i) {
    scores[i] = kMinusInfinity;
  }
  for (int64_t i = 0; i < kBlock; i += kLanes) {
    largest = Max(largest, Load(scores + i));
  }
  return ReduceMax(largest);
}

// For M queries, sums[m] += sum over rows [low, high) of weights[m][row] * v[row], rows ascending, kVectors
// vectors at a time. The order of a query's sum does not depend on the others.
template <int M, int kVectors>
inline __attribute__((always_inline)) void AddVectors(const float* const (&weights)[M], const float* v, int64_t padded,
                                                      int64_t low, int64_t high, float* const (&sums)[M], int64_t at) {
  Vec acc[M][kVectors];
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) {
      acc[m][i] = Load(sums[m] + at + i * kLanes);
    }
  }
  for (int64_t row = low; row < high; ++row) {
    Vec values[kVectors];
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) {
      values[i] = Load(v + row * padded + at + i * kLanes);
    }
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) {
      const Vec weight = Set1(weights[m][row]);
#pragma GCC unroll 8
      for (int i = 0; i < kVectors; ++i) {
        acc[m][i] = Fma(weight, values[i], acc[m][i]);
      }
    }
  }
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) {
      Store(sums[m] + at + i * kLanes, acc[m][i]);
    }
  }
}

template <int M>
void AddRows(const float* const (&weights)[M], const float* v, int64_t padded, int64_t low, int64_t high,
             float* const (&sums)[M]) {
  int64_t at = 0;
  for (; at + 4 * kLanes <= padded; at += 4 * kLanes) {
    AddVectors<M, 4>(weights, v, padded, low, high, sums, at);
  }
  for (; at < padded; at += kLanes) {
    AddVectors<M, 1>(weights, v, padded, low, high, sums, at);
  }
}

// Turns the scores of rows [low, high) of a block into weights of V and prepares the query's state for
// them. False: nothing to weigh, every score is minus infinity or NaN.
bool Weigh(const AttentionArgs& args, int64_t low, int64_t high, int64_t padded, float* scores, State& state) {
  const float block_largest = FinishScores(args, scores, low, high);
  const float largest = std::max(state.largest, block_largest);
  if (!(largest > kMinusInfinity)) {
    return false;
  }
  if (largest != state.largest && state.total != 0.0F) {
    const float factor = ExpOf(state.largest - largest);
    state.total *= factor;
    Rescale(state.sum, padded, factor);
  }
  state.largest = largest;
  Vec total = Zero();
  for (int64_t i = 0; i < kBlock; i += kLanes) {
    const Vec weight = Exp(Sub(Load(scores + i), Set1(largest)));
    Store(scores + i, weight);
    total = Add(total, weight);
  }
  state.total += ReduceAdd(total);
  return true;
}

// Query rows [begin, end) of a sequence and the group of heads of one kv head.
struct QueryTile {
  const KvSequence& sequence;
  int64_t kv_head;
  int64_t begin;
  int64_t end;

  int64_t FirstPosition() const { return sequence.first_position + begin; }
  int64_t LastPosition() const { return sequence.first_position + end - 1; }
};

// Worker memory of a task: unpacked block, padded queries, scores, and two states per query.
struct Workspace {
  float* block;
  float* q;
  float* scores;
  float* states;

  static int64_t Bytes(const Dims& dims) {
    const int64_t queries = kTileRows * dims.group;
    const int64_t floats = 2 * kBlock * dims.padded + queries * (dims.padded + kBlock) + 2 * queries * dims.padded;
    return floats * static_cast<int64_t>(sizeof(float)) + 64;
  }
  Workspace(std::byte* memory, const Dims& dims) {
    const int64_t queries = kTileRows * dims.group;
    block = reinterpret_cast<float*>(memory);
    q = block + 2 * kBlock * dims.padded;
    scores = q + queries * dims.padded;
    states = scores + queries * kBlock;
  }
  State StateOf(const Dims& dims, int64_t slot) const { return {kMinusInfinity, 0.0F, states + slot * dims.padded}; }
};

void CopyQueries(const AttentionArgs& args, const Dims& dims, const QueryTile& tile, float* q) {
  for (int64_t row = tile.begin; row < tile.end; ++row) {
    const float* const source =
        args.q + (tile.sequence.first_row + row) * args.q_stride + tile.kv_head * dims.group * dims.head_dim;
    for (int64_t head = 0; head < dims.group; ++head, q += dims.padded) {
      std::memcpy(q, source + head * dims.head_dim, static_cast<size_t>(dims.head_dim) * sizeof(float));
      std::memset(q + dims.head_dim, 0, static_cast<size_t>(dims.padded - dims.head_dim) * sizeof(float));
    }
  }
}

// Folds rows of a block, whose scores are at hand, into the states of all queries that see some of it.
// Queries that see all of it share the loads of V.
void AbsorbBlock(const AttentionArgs& args, const Dims& dims, const QueryTile& tile, const Block& block, float* scores,
                 State* states) {
  const int64_t queries = (tile.end - tile.begin) * dims.group;
  const float* weights[kSumRows];
  float* sums[kSumRows];
  int waiting = 0;
  for (int64_t query = 0; query < queries; ++query) {
    const int64_t position = tile.FirstPosition() + query / dims.group;
    const int64_t low = std::max<int64_t>(0, FirstKey(args, position) - block.first);
    const int64_t high = std::min(kBlock, position + 1 - block.first);
    float* const own = scores + query * kBlock;
    if (low >= high || !Weigh(args, low, high, dims.padded, own, states[query])) {
      continue;
    }
    if (low > 0 || high < kBlock) {
      AddRows<1>({own}, block.v, dims.padded, low, high, {states[query].sum});
      continue;
    }
    weights[waiting] = own;
    sums[waiting] = states[query].sum;
    if (++waiting == kSumRows) {
      AddRows<kSumRows>(weights, block.v, dims.padded, 0, kBlock, sums);
      waiting = 0;
    }
  }
  for (int i = 0; i < waiting; ++i) {
    AddRows<1>({weights[i]}, block.v, dims.padded, 0, kBlock, {sums[i]});
  }
}

// Runs the tile's queries over one partition; states are per query, [row][head].
void RunPartition(const AttentionArgs& args, const Dims& dims, const QueryTile& tile, int64_t partition,
                  const Workspace& work, State* states) {
  const int64_t queries = (tile.end - tile.begin) * dims.group;
  const int64_t from = std::max(partition * kAttentionPartition, FirstKey(args, tile.FirstPosition()));
  const int64_t to = std::min((partition + 1) * kAttentionPartition, tile.LastPosition() + 1);
  for (int64_t first = from / kBlock * kBlock; first < to; first += kBlock) {
    Block block{};
    UnpackBlock(args, tile.sequence, tile.kv_head, first, std::min(kBlock, to - first), dims.padded, work.block, block);
    AllScores(work.q, queries, dims.padded, block, work.scores);
    AbsorbBlock(args, dims, tile, block, work.scores, states);
  }
}

void WriteOutput(const AttentionArgs& args, const Dims& dims, int64_t row, int64_t head, const State& state) {
  float* const y = args.y + row * args.y_stride + head * dims.head_dim;
  const float inverse = 1.0F / state.total;
  for (int64_t i = 0; i < dims.head_dim; ++i) {
    y[i] = state.sum[i] * inverse;
  }
}

constexpr int64_t kMaxQueries = kTileRows * 64;  // of a task: group sizes above 64 take smaller tiles

int64_t PartitionsOf(int64_t last_position) { return last_position / kAttentionPartition + 1; }

void RunTile(const AttentionArgs& args, const Dims& dims, const QueryTile& tile, std::byte* memory) {
  const Workspace work(memory, dims);
  const int64_t queries = (tile.end - tile.begin) * dims.group;
  CopyQueries(args, dims, tile, work.q);
  State whole[kMaxQueries];
  State part[kMaxQueries];
  for (int64_t query = 0; query < queries; ++query) {
    Clear(work.StateOf(dims, 2 * query), whole[query], dims.padded);
  }
  const int64_t first_partition = FirstKey(args, tile.FirstPosition()) / kAttentionPartition;
  for (int64_t p = first_partition; p < PartitionsOf(tile.LastPosition()); ++p) {
    for (int64_t query = 0; query < queries; ++query) {
      Clear(work.StateOf(dims, 2 * query + 1), part[query], dims.padded);
    }
    RunPartition(args, dims, tile, p, work, part);
    for (int64_t query = 0; query < queries; ++query) {
      Merge(whole[query], part[query], dims.padded);
    }
  }
  for (int64_t query = 0; query < queries; ++query) {
    WriteOutput(args, dims, tile.sequence.first_row + tile.begin + query / dims.group,
                tile.kv_head * dims.group + query % dims.group, whole[query]);
  }
}

// A decode over a long context: one task a partition, states side by side in `memory`, merged here.
void RunSplit(Stream& stream, const AttentionArgs& args, const Dims& dims, const KvSequence& sequence) {
  const QueryTile all{sequence, 0, 0, sequence.rows};
  const int64_t first = FirstKey(args, all.FirstPosition()) / kAttentionPartition;
  const int64_t partitions = PartitionsOf(all.LastPosition()) - first;
  const int64_t queries = sequence.rows * dims.group;
  const int64_t kv_heads = args.layer.kv_heads;
  const int64_t slot_floats = dims.padded + kLanes;  // sum, then largest and total
  auto* const slots = reinterpret_cast<float*>(
      stream.scratch.Shared(kv_heads * partitions * queries * slot_floats * static_cast<int64_t>(sizeof(float))));
  const auto slot = [&](int64_t kv_head, int64_t p, int64_t query) {
    return slots + ((kv_head * partitions + p) * queries + query) * slot_floats;
  };
  stream.pool.ParallelFor(kv_heads * partitions, [&](int64_t task, int worker) {
    const int64_t kv_head = task / partitions;
    const int64_t p = task % partitions;
    const Workspace work(stream.scratch.Worker(worker, Workspace::Bytes(dims)), dims);
    const QueryTile tile{sequence, kv_head, 0, sequence.rows};
    CopyQueries(args, dims, tile, work.q);
    State states[kMaxQueries];
    for (int64_t query = 0; query < queries; ++query) {
      Clear({0, 0, slot(kv_head, p, query)}, states[query], dims.padded);
    }
    RunPartition(args, dims, tile, first + p, work, states);
    for (int64_t query = 0; query < queries; ++query) {
      slot(kv_head, p, query)[dims.padded] = states[query].largest;
      slot(kv_head, p, query)[dims.padded + 1] = states[query].total;
    }
  });
  stream.pool.ParallelFor(kv_heads, [&](int64_t kv_head, int worker) {
    const Workspace work(stream.scratch.Worker(worker, Workspace::Bytes(dims)), dims);
    for (int64_t query = 0; query < queries; ++query) {
      State whole;
      Clear(work.StateOf(dims, 0), whole, dims.padded);
      for (int64_t p = 0; p < partitions; ++p) {
        float* const stored = slot(kv_head, p, query);
        Merge(whole, {stored[dims.padded], stored[dims.padded + 1], stored}, dims.padded);
      }
      WriteOutput(args, dims, sequence.first_row + query / dims.group, kv_head * dims.group + query % dims.group,
                  whole);
    }
  });
}

// Whether a sequence's partitions are spread over threads. The bits are the same either way.
bool IsSplit(const Stream& stream, const AttentionArgs& args, const KvSequence& sequence) {
  const int64_t last = sequence.first_position + sequence.rows - 1;
  return sequence.rows > 0 && sequence.rows <= kFewRows && PartitionsOf(last) > 4 &&
         stream.pool.threads() > args.layer.kv_heads;
}

}  // namespace

void Attention(Stream& stream, const AttentionArgs& args) {
  const Dims dims = DimsOf(args);
  const int64_t tile_rows = std::max<int64_t>(1, std::min(kTileRows, kMaxQueries / dims.group));
  // Long decodes first, each over all threads; everything else as one set of tiles.
  int64_t tiles = 0;
  for (const KvSequence& sequence : args.sequences) {
    if (IsSplit(stream, args, sequence)) {
      RunSplit(stream, args, dims, sequence);
    } else {
      tiles += (sequence.rows + tile_rows - 1) / tile_rows;
    }
  }
  stream.pool.ParallelFor(tiles * args.layer.kv_heads, [&](int64_t task, int worker) {
    int64_t tile = task / args.layer.kv_heads;
    for (const KvSequence& sequence : args.sequences) {
      if (IsSplit(stream, args, sequence)) {
        continue;
      }
      const int64_t count = (sequence.rows + tile_rows - 1) / tile_rows;
      if (tile < count) {
        RunTile(
            args, dims,
            {sequence, task % args.layer.kv_heads, tile * tile_rows, std::min(sequence.rows, (tile + 1) * tile_rows)},
            stream.scratch.Worker(worker, Workspace::Bytes(dims)));
        return;
      }
      tile -= count;
    }
  });
}

}  // namespace causeway::kernels::CAUSEWAY_ISA
