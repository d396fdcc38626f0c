// Causal attention by online softmax (Milakov and Gimelshein 2018; Dao et al. 2022), its order fixed by
// absolute position.
//
// Keys are taken in blocks of kAttentionBlock positions; partitions of kAttentionPartition positions start
// from an empty state and are merged in ascending order, always, so that a long decode may spread its
// partitions over threads and still give the bits of one thread. What a query at position p reads is a
// function of p alone: blocks that it sees in part are masked by position, and rows that no one has written
// yet are never touched.
//
// A task is (tile of query rows, kv heads) or, where there are few, also one partition (kernels/attention_plan.h).
// It takes a block for one of its heads after the other, so that whole rows are read while they are near.
// Its queries share each unpacked block of K and V: those of several sequences too, over a prefix that they share
// (cascade). Each query still absorbs its blocks one by one in ascending order, so sharing shows in no bit.
#include <algorithm>
#include <limits>

#include "kernels/attention_plan.h"
#include "kernels/cpu/attention_ahead.h"
#include "kernels/cpu/attention_block.h"
#include "kernels/cpu/ops.h"
#include "kernels/scratch.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr int64_t kMaxQueries = kAttentionTileQueries;
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

// Where rows of a block lie in the cache: those of the first kv head, and from there of any.
struct CacheBlock {
  int64_t first;  // absolute position of row 0
  int64_t rows;
  const std::byte* k;
  const std::byte* v;

  CacheBlock OfHead(const KvLayerView& layer, int64_t kv_head) const {
    const int64_t offset = kv_head * layer.head_dim * KvFormatBytes(layer.format);
    return {first, rows, k + offset, v + offset};
  }
};

template <KvFormat kFormat>
void UnpackRows(const KvLayerView& layer, const CacheBlock& cached, int64_t padded, BlockAhead& ahead, int64_t lines,
                float* k, float* v) {
  for (int64_t i = 0; i < cached.rows; ++i) {
    ahead.Ask(lines);
    DecodeKv<kFormat>(cached.k + i * layer.row_bytes, k + i * padded, layer.head_dim);
    DecodeKv<kFormat>(cached.v + i * layer.row_bytes, v + i * padded, layer.head_dim);
  }
}

// Unpacks a head's rows; asks for `lines` of the block ahead beside each.
Block UnpackBlock(const KvLayerView& layer, const CacheBlock& cached, int64_t padded, float* memory, BlockAhead& ahead,
                  int64_t lines) {
  float* const k = memory;
  float* const v = memory + kBlock * padded;
  switch (layer.format) {
    case KvFormat::kF16: UnpackRows<KvFormat::kF16>(layer, cached, padded, ahead, lines, k, v); break;
    case KvFormat::kBF16: UnpackRows<KvFormat::kBF16>(layer, cached, padded, ahead, lines, k, v); break;
    case KvFormat::kF32: UnpackRows<KvFormat::kF32>(layer, cached, padded, ahead, lines, k, v); break;
  }
  std::memset(k + cached.rows * padded, 0, static_cast<size_t>((kBlock - cached.rows) * padded) * sizeof(float));
  return {cached.first, cached.rows, k, v};
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

// Query rows of a tile with all heads of some kv heads. Queries are [kv head][row][head of the group].
struct Queries {
  Heads kv_heads;
  int64_t stride;  // queries from one kv head to the next: of the whole tile, where this is a part of its rows
  int64_t rows;
  const int64_t* positions;  // [rows]
  const float* q;            // [queries][padded]
  State* states;             // [queries]

  // Those of the i-th kv head alone.
  Queries OfHead(const Dims& dims, int64_t i) const {
    return {{kv_heads.first + i, 1}, stride, rows, positions, q + i * stride * dims.padded, states + i * stride};
  }
};

// Worker memory of a task: unpacked block, padded queries, scores, and two states per query.
struct Workspace {
  float* block;
  float* q;
  float* scores;
  float* states;

  static int64_t MaxQueries(const Dims& dims) {
    return std::max(kAttentionTileRows * dims.group, kAttentionTaskQueries);
  }
  static int64_t Bytes(const Dims& dims) {
    const int64_t floats = 2 * kBlock * dims.padded + MaxQueries(dims) * (3 * dims.padded + kBlock);
    return floats * static_cast<int64_t>(sizeof(float)) + 64;
  }
  Workspace(std::byte* memory, const Dims& dims) {
    block = reinterpret_cast<float*>(memory);
    q = block + 2 * kBlock * dims.padded;
    scores = q + MaxQueries(dims) * dims.padded;
    states = scores + MaxQueries(dims) * kBlock;
  }
  State StateOf(const Dims& dims, int64_t slot) const { return {kMinusInfinity, 0.0F, states + slot * dims.padded}; }
};

// Calls visit(sequence, row, i) for the i-th row of the tile, which is row `row` of that sequence in this call.
template <typename Visit>
void ForEachRow(const AttentionTile& tile, Visit&& visit) {
  int64_t i = 0;
  for (const AttentionPiece& piece : tile.pieces) {
    for (int64_t row = piece.begin; row < piece.end; ++row, ++i) {
      visit(*piece.sequence, row, i);
    }
  }
}

// Gathers the queries of a tile; their states are the caller's.
Queries GatherQueries(const AttentionArgs& args, const Dims& dims, const AttentionTile& tile, Heads kv_heads, float* q,
                      int64_t* positions, State* states) {
  const int64_t rows = tile.rows;
  const int64_t stride = rows * dims.group;
  ForEachRow(tile, [&](const KvSequence& sequence, int64_t row, int64_t i) {
    const float* source =
        args.q + (sequence.first_row + row) * args.q_stride + kv_heads.first * dims.group * dims.head_dim;
    for (int64_t head = 0; head < kv_heads.count * dims.group; ++head, source += dims.head_dim) {
      float* const target = q + (head / dims.group * stride + i * dims.group + head % dims.group) * dims.padded;
      std::memcpy(target, source, static_cast<size_t>(dims.head_dim) * sizeof(float));
      std::memset(target + dims.head_dim, 0, static_cast<size_t>(dims.padded - dims.head_dim) * sizeof(float));
    }
    positions[i] = sequence.first_position + row;
  });
  return {kv_heads, stride, rows, positions, q, states};
}

// Folds rows of a block, whose scores are at hand, into the states of all queries of one kv head that see some of it.
// Queries that see all of it share the loads of V.
void AbsorbBlock(const AttentionArgs& args, const Dims& dims, const Queries& queries, const Block& block,
                 float* scores) {
  const FloatRows v{block.v, dims.padded};
  const float* weights[kSumRows];
  float* sums[kSumRows];
  int waiting = 0;
  for (int64_t query = 0; query < queries.rows * dims.group; ++query) {
    const int64_t position = queries.positions[query / dims.group];
    const int64_t low = std::max<int64_t>(0, FirstKey(args, position) - block.first);
    const int64_t high = std::min(kBlock, position + 1 - block.first);
    float* const own = scores + query * kBlock;
    if (low >= high || !Weigh(args, low, high, dims.padded, own, queries.states[query])) {
      continue;
    }
    if (low > 0 || high < kBlock) {
      const float* const weight = own;
      AddRows<1>(&weight, v, dims.padded, low, high, &queries.states[query].sum);
      continue;
    }
    weights[waiting] = own;
    sums[waiting] = queries.states[query].sum;
    if (++waiting == kSumRows) {
      AddRows<kSumRows>(weights, v, dims.padded, 0, kBlock, sums);
      waiting = 0;
    }
  }
  for (int i = 0; i < waiting; ++i) {
    AddRows<1>(weights + i, v, dims.padded, 0, kBlock, sums + i);
  }
}

// Takes M queries, which see the whole block, over it as it lies in the cache.
template <int M, KvFormat kFormat>
void AbsorbDirect(const AttentionArgs& args, const Dims& dims, const Queries& queries, const CacheBlock& cached,
                  BlockAhead& ahead, int64_t lines, float* scores) {
  const CacheRows<kFormat> k{cached.k, args.layer.row_bytes};
  const CacheRows<kFormat> v{cached.v, args.layer.row_bytes};
  ahead.Ask(lines);
  ScoresOf<M, kDirectSums / M>(queries.q, dims.padded, k, scores);
  ahead.Ask(lines);
  const float* weights[M];
  float* sums[M];
  int count = 0;
  for (int m = 0; m < M; ++m) {
    if (Weigh(args, 0, kBlock, dims.padded, scores + m * kBlock, queries.states[m])) {
      weights[count] = scores + m * kBlock;
      sums[count++] = queries.states[m].sum;
    }
  }
  ahead.Ask(lines);
  if (count == M) {
    AddRows<M>(weights, v, dims.padded, 0, kBlock, sums);
  } else {
    for (int i = 0; i < count; ++i) {
      AddRows<1>(weights + i, v, dims.padded, 0, kBlock, sums + i);
    }
  }
  ahead.Ask(lines);
}

using Direct = void (*)(const AttentionArgs& args, const Dims& dims, const Queries& queries, const CacheBlock& cached,
                        BlockAhead& ahead, int64_t lines, float* scores);

template <KvFormat kFormat>
Direct DirectOf(int64_t queries) {
  switch (queries) {
    case 1: return AbsorbDirect<1, kFormat>;
    case 2: return AbsorbDirect<2, kFormat>;
#if defined(CAUSEWAY_ISA_AVX512)
    case 4: return AbsorbDirect<4, kFormat>;
#endif
    default: return nullptr;
  }
}

// How the queries of one row and kv head read whole blocks without unpacking them. Null: not at all, for they are too
// many for one register tile, which would convert a block twice, or rows are no whole vectors.
Direct DirectFor(const KvLayerView& layer, const Dims& dims, int64_t rows) {
  if (rows != 1 || dims.head_dim != dims.padded) {
    return nullptr;
  }
  switch (layer.format) {
    case KvFormat::kF16: return DirectOf<KvFormat::kF16>(dims.group);
    case KvFormat::kBF16: return DirectOf<KvFormat::kBF16>(dims.group);
    case KvFormat::kF32: break;
  }
  return DirectOf<KvFormat::kF32>(dims.group);
}

// Runs queries over the blocks of a sequence's positions [from, to).
void RunBlocks(const AttentionArgs& args, const Dims& dims, const KvSequence& sequence, int64_t from, int64_t to,
               const Workspace& work, const Queries& queries) {
  const Direct direct = DirectFor(args.layer, dims, queries.rows);
  for (int64_t first = from / kBlock * kBlock; first < to; first += kBlock) {
    // A block never straddles a page or a segment: both are multiples of kBlock positions.
    const CacheBlock all{first, std::min(kBlock, to - first), KRow(args.layer, sequence, first),
                         VRow(args.layer, sequence, first)};
    const bool whole = first >= from && all.rows == kBlock;
    BlockAhead ahead(args, sequence, queries.kv_heads, first + kBlock, to);
    const int64_t lines = DivideUp(ahead.total(), 4 * queries.kv_heads.count);  // in each quarter of a head's work
    for (int64_t i = 0; i < queries.kv_heads.count; ++i) {
      const Queries own = queries.OfHead(dims, i);
      const CacheBlock cached = all.OfHead(args.layer, own.kv_heads.first);
      if (direct != nullptr && whole) {
        direct(args, dims, own, cached, ahead, lines, work.scores);
        continue;
      }
      const Block block = UnpackBlock(args.layer, cached, dims.padded, work.block, ahead, DivideUp(lines, kBlock));
      ahead.Ask(lines);
      AllScores(own.q, own.rows * dims.group, dims.padded, block, work.scores);
      ahead.Ask(lines);
      AbsorbBlock(args, dims, own, block, work.scores);
      ahead.Ask(lines);
    }
  }
}

// Runs a tile's queries over one partition: all of them over what they share, then each piece's over its own rest.
void RunPartition(const AttentionArgs& args, const Dims& dims, const AttentionTile& tile, int64_t partition,
                  const Workspace& work, const Queries& queries) {
  const int64_t begin = partition * kAttentionPartition;
  const int64_t end = begin + kAttentionPartition;
  if (begin < tile.shared) {
    const int64_t first = *std::min_element(queries.positions, queries.positions + queries.rows);
    RunBlocks(args, dims, *tile.prefix, std::max(begin, FirstKey(args, first)), std::min(end, tile.shared), work,
              queries);
  }
  Queries own = queries;
  for (const AttentionPiece& piece : tile.pieces) {
    own.rows = piece.end - piece.begin;
    const int64_t first = std::max(tile.shared, FirstKey(args, own.positions[0]));
    RunBlocks(args, dims, *piece.sequence, std::max(begin, first), std::min(end, own.positions[own.rows - 1] + 1), work,
              own);
    own.positions += own.rows;
    own.q += own.rows * dims.group * dims.padded;
    own.states += own.rows * dims.group;
  }
}

void WriteOutput(const AttentionArgs& args, const Dims& dims, int64_t row, int64_t head, const State& state) {
  float* const y = args.y + row * args.y_stride + head * dims.head_dim;
  const float inverse = 1.0F / state.total;
  for (int64_t i = 0; i < dims.head_dim; ++i) {
    y[i] = state.sum[i] * inverse;
  }
}

// Writes the outputs of a tile; whole(query) is the state of a query over all partitions.
template <typename Whole>
void WriteTile(const AttentionArgs& args, const Dims& dims, const AttentionTile& tile, int64_t kv_head, Whole&& whole) {
  ForEachRow(tile, [&](const KvSequence& sequence, int64_t row, int64_t i) {
    for (int64_t head = 0; head < dims.group; ++head) {
      WriteOutput(args, dims, sequence.first_row + row, kv_head * dims.group + head, whole(i * dims.group + head));
    }
  });
}

void RunTile(const AttentionArgs& args, const Dims& dims, const AttentionTile& tile, Heads kv_heads,
             std::byte* memory) {
  const Workspace work(memory, dims);
  State whole[kMaxQueries];
  State part[kMaxQueries];
  int64_t positions[kAttentionTileRows];
  const Queries queries = GatherQueries(args, dims, tile, kv_heads, work.q, positions, part);
  const int64_t count = kv_heads.count * queries.stride;
  for (int64_t query = 0; query < count; ++query) {
    Clear(work.StateOf(dims, 2 * query), whole[query], dims.padded);
  }
  for (int64_t p = 0; p < tile.partitions; ++p) {
    for (int64_t query = 0; query < count; ++query) {
      Clear(work.StateOf(dims, 2 * query + 1), part[query], dims.padded);
    }
    RunPartition(args, dims, tile, tile.first_partition + p, work, queries);
    for (int64_t query = 0; query < count; ++query) {
      Merge(whole[query], part[query], dims.padded);
    }
  }
  for (int64_t i = 0; i < kv_heads.count; ++i) {
    WriteTile(args, dims, tile, kv_heads.first + i, [&](int64_t query) { return whole[i * queries.stride + query]; });
  }
}

// The states of a split tile, side by side in shared scratch: of each partition of a wave, and of all before it.
class SplitStates {
 public:
  SplitStates(Scratch& scratch, const Dims& dims, int64_t kv_heads, int64_t queries, int64_t wave)
      : padded_(dims.padded), queries_(queries), wave_(wave) {
    floats_ = reinterpret_cast<float*>(
        scratch.Shared(kv_heads * (wave + 1) * queries * SlotFloats() * static_cast<int64_t>(sizeof(float))));
  }
  // p in [0, wave): a partition's; p = wave: the merged one.
  float* SumOf(int64_t kv_head, int64_t p, int64_t query) const {
    return floats_ + ((kv_head * (wave_ + 1) + p) * queries_ + query) * SlotFloats();
  }
  State Get(int64_t kv_head, int64_t p, int64_t query) const {
    float* const slot = SumOf(kv_head, p, query);
    return {slot[padded_], slot[padded_ + 1], slot};
  }
  void Put(int64_t kv_head, int64_t p, int64_t query, const State& state) const {
    float* const slot = SumOf(kv_head, p, query);
    slot[padded_] = state.largest;
    slot[padded_ + 1] = state.total;
  }

 private:
  int64_t SlotFloats() const { return padded_ + kLanes; }  // sum, then largest and total

  float* floats_;
  int64_t padded_;
  int64_t queries_;
  int64_t wave_;
};

// The kv heads of the `part`-th of a tile's tasks.
Heads HeadsOf(const AttentionArgs& args, const AttentionTile& tile, int64_t part) {
  const int64_t first = part * tile.task_heads;
  return {first, std::min(tile.task_heads, args.layer.kv_heads - first)};
}

// A long tile where there are few: one task a partition, in waves that are merged before the next.
void RunSplit(Stream& stream, const AttentionArgs& args, const Dims& dims, const AttentionTile& tile) {
  const int64_t kv_heads = args.layer.kv_heads;
  const int64_t wave = tile.wave;
  const int64_t count = tile.rows * dims.group;  // queries of a kv head
  const SplitStates states(stream.scratch, dims, kv_heads, count, wave);
  for (int64_t begin = 0; begin < tile.partitions; begin += wave) {
    const int64_t partitions = std::min(wave, tile.partitions - begin);
    stream.pool.ParallelFor(tile.HeadTasks(kv_heads) * partitions, [&](int64_t task, int worker) {
      const Heads heads = HeadsOf(args, tile, task / partitions);
      const int64_t p = task % partitions;
      const Workspace work(stream.scratch.Worker(worker, Workspace::Bytes(dims)), dims);
      State part[kMaxQueries];
      int64_t positions[kAttentionTileRows];
      const Queries queries = GatherQueries(args, dims, tile, heads, work.q, positions, part);
      for (int64_t query = 0; query < heads.count * count; ++query) {
        Clear({0, 0, states.SumOf(heads.first + query / count, p, query % count)}, part[query], dims.padded);
      }
      RunPartition(args, dims, tile, tile.first_partition + begin + p, work, queries);
      for (int64_t query = 0; query < heads.count * count; ++query) {
        states.Put(heads.first + query / count, p, query % count, part[query]);
      }
    });
    stream.pool.ParallelFor(kv_heads, [&](int64_t kv_head, int) {
      for (int64_t query = 0; query < count; ++query) {
        State whole = states.Get(kv_head, wave, query);
        if (begin == 0) {
          Clear(whole, whole, dims.padded);
        }
        for (int64_t p = 0; p < partitions; ++p) {
          Merge(whole, states.Get(kv_head, p, query), dims.padded);
        }
        states.Put(kv_head, wave, query, whole);
      }
    });
  }
  stream.pool.ParallelFor(kv_heads, [&](int64_t kv_head, int) {
    WriteTile(args, dims, tile, kv_head, [&](int64_t query) { return states.Get(kv_head, wave, query); });
  });
}

}  // namespace

void Attention(Stream& stream, const AttentionArgs& args) {
  const Dims dims = DimsOf(args);
  const AttentionPlan plan = PlanAttention(args, stream.pool.threads(), stream.scratch);
  for (const AttentionTile& tile : plan.split) {
    RunSplit(stream, args, dims, tile);
  }
  // A tile has at most one task a kv head; those that it does not need are empty.
  const auto tiles = static_cast<int64_t>(plan.whole.size());
  stream.pool.ParallelFor(tiles * args.layer.kv_heads, [&](int64_t task, int worker) {
    const AttentionTile& tile = plan.whole[static_cast<size_t>(task / args.layer.kv_heads)];
    const Heads heads = HeadsOf(args, tile, task % args.layer.kv_heads);
    if (heads.count > 0) {
      RunTile(args, dims, tile, heads, stream.scratch.Worker(worker, Workspace::Bytes(dims)));
    }
  });
}

}  // namespace causeway::kernels::CAUSEWAY_ISA
