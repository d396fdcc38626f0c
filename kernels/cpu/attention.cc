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
// Its queries share each block, K turned into columns once: those of several sequences too, over a prefix that they
// share (cascade). Each query still absorbs its blocks one by one in ascending order, so sharing shows in no bit.
#include <algorithm>

#include "base/parallel_runs.h"
#include "kernels/attention_plan.h"
#include "kernels/cpu/attention_block.h"
#include "kernels/cpu/attention_pack_ahead.h"
#include "kernels/cpu/attention_reach.h"
#include "kernels/cpu/ops.h"
#include "kernels/scratch.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr int64_t kMaxQueries = kAttentionTileQueries;
// Queries of a kv head up to which K and V stay in the cache's format, which each pack converts again. With AVX-512
// eight packs and more are worth converting once: it takes a tenth of their products' time.
#if defined(CAUSEWAY_ISA_AVX512)
constexpr int64_t kDirectQueries = 8 * kPack;
#else
constexpr int64_t kDirectQueries = 2 * kPack;
#endif

struct Dims {
  int64_t head_dim;
  int64_t padded;       // head_dim up to whole vectors
  int64_t group;        // query heads of one kv head
  int64_t value_bytes;  // in the cache

  explicit Dims(const AttentionArgs& args)
      : head_dim(args.layer.head_dim),
        padded(RoundUpToLanes(args.layer.head_dim)),
        group(args.heads / args.layer.kv_heads),
        value_bytes(KvFormatBytes(args.layer.format)) {}

  int64_t head_bytes() const { return head_dim * value_bytes; }
};

// States of neighbouring queries.
struct States {
  float* memory;
  int64_t padded;

  int64_t stride() const { return State::Floats(padded); }
  State operator[](int64_t query) const { return {memory + query * stride(), padded}; }
  States From(int64_t query) const { return {memory + query * stride(), padded}; }
};

// Query rows of a tile with all heads of some kv heads. Queries are [kv head][row][head of the group].
struct Queries {
  Heads kv_heads;
  int64_t stride;  // queries from one kv head to the next: of the whole tile, where this is a part of its rows
  int64_t rows;
  const int64_t* positions;    // [rows]
  const float* const* values;  // [rows]: those of the first head of kv_heads, [heads][head_dim]
  States states;
};

// Worker memory of a task: K in columns, K and V unpacked or set apart, packed queries, and two states per query.
struct Workspace {
  std::byte* columns;  // [head_dim][kBlock] in the cache's format
  float* k;            // the same as float32
  float* v;            // [kBlock][padded]
  std::byte* rows;     // [kBlock][head_dim] in the cache's format
  float* q;
  float* states;

  static int64_t MaxQueries(const Dims& dims) {
    return std::max(AttentionTileRows(dims.group) * dims.group, kAttentionTaskQueries);
  }
  static int64_t Floats(const Dims& dims) {
    return 4 * kBlock * dims.padded + MaxQueries(dims) * (dims.head_dim + 2 * State::Floats(dims.padded));
  }
  static int64_t Bytes(const Dims& dims) { return Floats(dims) * static_cast<int64_t>(sizeof(float)) + 64; }

  Workspace(std::byte* memory, const Dims& dims) {
    const int64_t block = kBlock * dims.padded;
    k = reinterpret_cast<float*>(memory);
    v = k + block;
    columns = reinterpret_cast<std::byte*>(v + block);
    rows = reinterpret_cast<std::byte*>(v + 2 * block);
    q = v + 3 * block;
    states = q + MaxQueries(dims) * dims.head_dim;
  }
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

// Finds the queries of a tile; their states are the caller's.
Queries FindQueries(const AttentionArgs& args, const Dims& dims, const AttentionTile& tile, Heads kv_heads,
                    int64_t* positions, const float** values, States states) {
  ForEachRow(tile, [&](const KvSequence& sequence, int64_t row, int64_t i) {
    values[i] = args.q + (sequence.first_row + row) * args.q_stride + kv_heads.first * dims.group * dims.head_dim;
    positions[i] = sequence.first_position + row;
  });
  return {kv_heads, tile.rows * dims.group, tile.rows, positions, values, states};
}

// Writes M queries as a pack, [head_dim][M].
template <int M>
void WritePack(const float* const* queries, int64_t head_dim, float* packed) {
  for (int64_t dim = 0; dim < head_dim; ++dim, packed += M) {
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      packed[m] = queries[m][dim];
    }
  }
}

#if defined(CAUSEWAY_ISA_AVX512)
// The same for kPack of them, a square of values at a time.
void WriteWholePack(const float* const* queries, int64_t head_dim, float* packed) {
  constexpr int64_t kSquares = kPack;  // dims of a tile as well
  const std::byte* rows[kPack];
  int64_t dim = 0;
  for (; dim + kSquares <= head_dim; dim += kSquares) {
    for (int m = 0; m < kPack; ++m) {
      rows[m] = reinterpret_cast<const std::byte*>(queries[m] + dim);
    }
    TransposeTile<4, kPack>([&](int m) { return rows[m]; }, reinterpret_cast<std::byte*>(packed + dim * kPack));
  }
  for (; dim < head_dim; ++dim) {
    for (int m = 0; m < kPack; ++m) {
      packed[dim * kPack + m] = queries[m][dim];
    }
  }
}
#endif

// Writes the queries of one kv head, one pack behind the other.
void PackQueries(const Dims& dims, const Queries& queries, int64_t kv_head, float* packed) {
  const int64_t count = queries.rows * dims.group;
  for (int64_t first = 0; first < count;) {
    const int64_t pack = PackOf(count - first);
    const float* sources[kPack];
    for (int64_t m = 0; m < pack; ++m) {
      const int64_t query = first + m;
      sources[m] = queries.values[query / dims.group] + (kv_head * dims.group + query % dims.group) * dims.head_dim;
    }
    switch (pack) {
#if defined(CAUSEWAY_ISA_AVX512)
      case 8: WriteWholePack(sources, dims.head_dim, packed); break;
#endif
      case 4: WritePack<4>(sources, dims.head_dim, packed); break;
      case 2: WritePack<2>(sources, dims.head_dim, packed); break;
      default: WritePack<1>(sources, dims.head_dim, packed); break;
    }
    packed += pack * dims.head_dim;
    first += pack;
  }
}

// The rows of one head of a block with zeros for those that may not be read.
RowRuns SetApart(const CacheBlock& cached, const RowRuns& rows, int64_t head_bytes, std::byte* memory) {
  const auto bytes = static_cast<size_t>(head_bytes);
  RowRuns apart{{}, head_bytes};
  for (int64_t row = 0; row < kBlock; ++row) {
    std::byte* const target = memory + row * head_bytes;
    if (row % kKvRun == 0) {
      apart.runs[row / kKvRun] = target;
    }
    if (row >= cached.low && row < cached.high) {
      std::memcpy(target, rows.At(row), bytes);
    } else {
      std::memset(target, 0, bytes);
    }
  }
  return apart;
}

// The rows of one of the heads from which `rows` start.
RowRuns OfHead(RowRuns rows, int64_t head, int64_t head_bytes) {
  for (const std::byte*& run : rows.runs) {
    run = run == nullptr ? nullptr : run + head * head_bytes;
  }
  return rows;
}

// A kv head's part of a block for the arithmetic: K in columns, in the cache's format with V where it lies or, for many
// queries, both unpacked.
template <KvFormat kFormat>
BlockRows PrepareBlock(const CacheBlock& cached, const Dims& dims, int64_t head, bool direct, const Workspace& work,
                       BlockAhead& ahead) {
  RowRuns k = OfHead(cached.k, head, dims.head_bytes());
  const RowRuns v = OfHead(cached.v, head, dims.head_bytes());
  if (!cached.whole()) {
    k = SetApart(cached, k, dims.head_bytes(), work.rows);
  }
  constexpr int kBytes = kFormat == KvFormat::kF32 ? 4 : 2;
  std::byte* const floats = reinterpret_cast<std::byte*>(work.k);
  std::byte* const columns = kFormat == KvFormat::kF32 ? floats : work.columns;
  TransposeKeys<kBytes>(k, cached.high, dims.head_dim, columns, [&] { ahead.Next().AskAll<kTimesOfColumns>(); });
  if (direct) {
    return {columns, v};
  }
  if constexpr (kFormat != KvFormat::kF32) {
    const int64_t keys = RoundUpToLanes(cached.high);
    for (int64_t dim = 0; dim < dims.head_dim; ++dim) {
      DecodeKv<kFormat>(columns + dim * kBlock * kBytes, work.k + dim * kBlock, keys);
    }
  }
  for (int64_t row = cached.low; row < cached.high; ++row) {
    DecodeKv<kFormat>(v.At(row), work.v + row * dims.padded, dims.head_dim);
  }
  RowRuns unpacked{{}, dims.padded * static_cast<int64_t>(sizeof(float))};
  for (int64_t run = 0; run < kRuns; ++run) {
    unpacked.runs[run] = reinterpret_cast<const std::byte*>(work.v + run * kKvRun * dims.padded);
  }
  return {floats, unpacked};
}

// Takes queries over a sequence's positions.
class BlockRunner {
 public:
  // `asked`: someone has asked for the first block.
  BlockRunner(const AttentionArgs& args, const Dims& dims, const Workspace& work, bool asked)
      : args_(args), dims_(dims), work_(work), scale_(args), asked_(asked) {}

  // Rows to ask for while the first block is absorbed.
  void SetRowsAhead(const RowsAhead& rows) { rows_ahead_ = rows; }

  // Over the positions of `reach`; `next` is what this thread goes over after them.
  void Run(const Reach& reach, const Reach& next, const Queries& queries) {
    if (reach.empty()) {
      return;
    }
    CacheBlock block = reach.BlockAt(args_.layer, reach.first_block());
    if (!asked_) {
      BlockAhead(block, reach.kv_heads.count * dims_.head_bytes(), 1).Next().AskAll<1>();
      asked_ = true;
    }
    Pack(queries);
    for (bool goes_on = true; goes_on;) {
      goes_on = block.first + kBlock < reach.to;
      const Reach& from = goes_on ? reach : next;
      const CacheBlock following = from.BlockAt(args_.layer, goes_on ? block.first + kBlock : next.first_block());
      BlockAhead ahead(following, from.kv_heads.count * dims_.head_bytes(), Asks(queries));
      switch (args_.layer.format) {
        case KvFormat::kF16: Absorb<KvFormat::kF16>(block, queries, ahead); break;
        case KvFormat::kBF16: Absorb<KvFormat::kBF16>(block, queries, ahead); break;
        case KvFormat::kF32: Absorb<KvFormat::kF32>(block, queries, ahead); break;
      }
      block = following;
    }
  }

 private:
  // Packs queries, unless they are those of the last call.
  void Pack(const Queries& queries) {
    if (packed_ == queries.values && packed_rows_ == queries.rows) {
      return;
    }
    packed_ = queries.values;
    packed_rows_ = queries.rows;
    const int64_t floats = queries.rows * dims_.group * dims_.head_dim;
    for (int64_t i = 0; i < queries.kv_heads.count; ++i) {
      PackQueries(dims_, queries, i, work_.q + i * floats);
    }
  }

  bool IsDirect(int64_t count) const { return count <= kDirectQueries && dims_.head_dim == dims_.padded; }

  // Requests for the block ahead that absorbing a block makes room for, about: K is turned into columns a few dims of
  // some rows at a time, and a pack goes over K and over V once for every kAccumulators accumulators.
  int64_t Asks(const Queries& queries) const {
    const int64_t count = queries.rows * dims_.group;
    const int64_t columns = DivideUp(dims_.head_dim, kPortion);
    const int64_t passes = DivideUp(count * kBlock, kAccumulators * kLanes);
    const int64_t packs = IsDirect(count) ? DivideUp(2 * dims_.head_dim * passes, kPortion) : DivideUp(count, kPack);
    return queries.kv_heads.count * (columns + packs);
  }

  template <KvFormat kFormat>
  void Absorb(const CacheBlock& cached, const Queries& queries, BlockAhead& ahead) {
    const int64_t count = queries.rows * dims_.group;
    const bool direct = IsDirect(count);
    Sight sights[kMaxQueries];
    for (int64_t row = 0; row < queries.rows; ++row) {
      const int64_t position = queries.positions[row];
      const int64_t low = std::max<int64_t>(0, FirstKey(args_, position) - cached.first);
      const int64_t high = std::min(kBlock, position + 1 - cached.first);
      std::fill_n(sights + row * dims_.group, dims_.group, low < high ? Sight{low, high} : Sight{kBlock, 0});
    }
    for (int64_t i = 0; i < queries.kv_heads.count; ++i) {
      const BlockRows block = PrepareBlock<kFormat>(cached, dims_, i, direct, work_, ahead);
      const States states = queries.states.From(i * queries.stride);
      const kernels::CAUSEWAY_ISA::Pack first{work_.q + i * count * dims_.head_dim, sights, states[0], states.stride()};
      if (direct) {
        AbsorbQueries<kFormat>(scale_, block, dims_.head_dim, count, first, ahead);
      } else {
        PackAhead pack_ahead(ahead, rows_ahead_, DivideUp(queries.rows * kPack, count));
        AbsorbQueries<KvFormat::kF32>(scale_, block, dims_.head_dim, count, first, pack_ahead);
      }
    }
  }

  const AttentionArgs& args_;
  const Dims& dims_;
  const Workspace& work_;
  const ScoreScale scale_;
  RowsAhead rows_ahead_;
  bool asked_;
  const float* const* packed_ = nullptr;
  int64_t packed_rows_ = 0;
};

// Runs a tile's queries over one partition: all of them over what they share, then each piece's over its own rest.
// This thread then goes over `next`.
void RunPartition(const AttentionArgs& args, const Dims& dims, const AttentionTile& tile, int64_t partition,
                  const Reach& next, BlockRunner& runner, const Queries& queries) {
  const auto run = [&](size_t index, const Queries& own) {
    const Reach after = ReachFrom(args, tile, queries.kv_heads, partition, index + 1);
    runner.Run(ReachOf(args, tile, queries.kv_heads, partition, index), after.empty() ? next : after, own);
  };
  run(0, queries);
  Queries own = queries;
  for (size_t i = 0; i < tile.pieces.size(); ++i) {
    own.rows = tile.pieces[i].end - tile.pieces[i].begin;
    run(i + 1, own);
    own.positions += own.rows;
    own.values += own.rows;
    own.states = own.states.From(own.rows * dims.group);
  }
}

void WriteOutput(const AttentionArgs& args, const Dims& dims, int64_t row, int64_t head, const State& state) {
  float* const y = args.y + row * args.y_stride + head * dims.head_dim;
  const Vec inverse = Set1(1.0F / ReduceAdd(Load(state.totals())));
  int64_t i = 0;
  for (; i + kLanes <= dims.head_dim; i += kLanes) {
    Store(y + i, Mul(Load(state.sum + i), inverse));
  }
  if (i < dims.head_dim) {
    StorePart(y + i, Mul(Load(state.sum + i), inverse), dims.head_dim - i);
  }
}

// Writes the outputs of a tile for one kv head; states are those of its queries over all partitions.
void WriteTile(const AttentionArgs& args, const Dims& dims, const AttentionTile& tile, int64_t kv_head,
               const States& states) {
  ForEachRow(tile, [&](const KvSequence& sequence, int64_t row, int64_t i) {
    for (int64_t head = 0; head < dims.group; ++head) {
      WriteOutput(args, dims, sequence.first_row + row, kv_head * dims.group + head, states[i * dims.group + head]);
    }
  });
}

// The kv heads of the `part`-th of a tile's tasks.
Heads HeadsOf(const AttentionArgs& args, const AttentionTile& tile, int64_t part) {
  const int64_t first = part * tile.task_heads;
  return {first, std::min(tile.task_heads, args.layer.kv_heads - first)};
}

// A tile that is not split, some kv heads; this thread then goes over `next`.
void RunTile(const AttentionArgs& args, const Dims& dims, const AttentionTile& tile, Heads kv_heads, const Reach& next,
             BlockRunner& runner, const Workspace& work) {
  int64_t positions[kAttentionTileRows];
  const float* values[kAttentionTileRows];
  const int64_t count = kv_heads.count * tile.rows * dims.group;
  const States whole{work.states, dims.padded};
  const States part = whole.From(count);
  Queries queries = FindQueries(args, dims, tile, kv_heads, positions, values, whole);
  float* outputs[kAttentionTileRows];
  ForEachRow(tile, [&](const KvSequence& sequence, int64_t row, int64_t i) {
    outputs[i] = args.y + (sequence.first_row + row) * args.y_stride + kv_heads.first * dims.group * dims.head_dim;
  });
  const int64_t floats = kv_heads.count * dims.group * dims.head_dim;
  const bool last_heads = kv_heads.first + kv_heads.count == args.layer.kv_heads;
  const int64_t to_next = last_heads ? tile.rows * args.q_stride - kv_heads.first * dims.group * dims.head_dim : floats;
  runner.SetRowsAhead({values, to_next, outputs, tile.rows, floats});
  for (int64_t query = 0; query < count; ++query) {
    whole[query].Clear();
  }
  // The first partition needs no state of its own: merging with an empty one changes no bit.
  for (int64_t p = 0; p < tile.partitions; ++p) {
    for (int64_t query = 0; p > 0 && query < count; ++query) {
      part[query].Clear();
    }
    queries.states = p == 0 ? whole : part;
    const int64_t partition = tile.first_partition + p;
    const Reach after = p + 1 < tile.partitions ? ReachFrom(args, tile, kv_heads, partition + 1, 0) : next;
    RunPartition(args, dims, tile, partition, after, runner, queries);
    for (int64_t query = 0; p > 0 && query < count; ++query) {
      whole[query].Merge(part[query]);
    }
  }
  for (int64_t i = 0; i < kv_heads.count; ++i) {
    WriteTile(args, dims, tile, kv_heads.first + i, whole.From(i * queries.stride));
  }
}

// Where tasks of whole tiles begin.
Reach FirstReach(const AttentionArgs& args, const AttentionPlan& plan, int64_t task) {
  const AttentionTile& tile = plan.TileOf(task);
  return ReachFrom(args, tile, HeadsOf(args, tile, task - tile.first_task), tile.first_partition, 0);
}

void RunWhole(Stream& stream, const AttentionArgs& args, const Dims& dims, const AttentionPlan& plan) {
  ParallelRuns(stream.pool, plan.whole_tasks, [&](int64_t task, int worker) {
    const AttentionTile& tile = plan.TileOf(task);
    const PlaceInRun place(task, plan.whole_tasks, stream.pool.threads());
    const Workspace work(stream.scratch.Worker(worker, Workspace::Bytes(dims)), dims);
    BlockRunner runner(args, dims, work, !place.first);
    RunTile(args, dims, tile, HeadsOf(args, tile, task - tile.first_task),
            place.last ? Reach{} : FirstReach(args, plan, task + 1), runner, work);
  });
}

// A long tile where there are few: one task a partition, in waves that are merged before the next. States lie side by
// side in shared scratch: [wave + 1][kv head][query], the last those of all partitions merged.
void RunSplit(Stream& stream, const AttentionArgs& args, const Dims& dims, const AttentionTile& tile) {
  const int64_t kv_heads = args.layer.kv_heads;
  const int64_t wave = tile.wave;
  const int64_t count = tile.rows * dims.group;  // queries of a kv head
  const int64_t floats = (wave + 1) * kv_heads * count * State::Floats(dims.padded);
  const States states{reinterpret_cast<float*>(stream.scratch.Shared(floats * static_cast<int64_t>(sizeof(float)))),
                      dims.padded};
  const States whole = states.From(wave * kv_heads * count);
  for (int64_t query = 0; query < kv_heads * count; ++query) {
    whole[query].Clear();
  }
  for (int64_t begin = 0; begin < tile.partitions; begin += wave) {
    const int64_t partitions = std::min(wave, tile.partitions - begin);
    const int64_t tasks = tile.HeadTasks(kv_heads) * partitions;
    const auto reach_of = [&](int64_t task) {
      return ReachFrom(args, tile, HeadsOf(args, tile, task / partitions),
                       tile.first_partition + begin + task % partitions, 0);
    };
    ParallelRuns(stream.pool, tasks, [&](int64_t task, int worker) {
      const Heads heads = HeadsOf(args, tile, task / partitions);
      const int64_t p = task % partitions;
      const PlaceInRun place(task, tasks, stream.pool.threads());
      const Workspace work(stream.scratch.Worker(worker, Workspace::Bytes(dims)), dims);
      BlockRunner runner(args, dims, work, !place.first);
      int64_t positions[kAttentionTileRows];
      const float* values[kAttentionTileRows];
      const States part = states.From((p * kv_heads + heads.first) * count);
      for (int64_t query = 0; query < heads.count * count; ++query) {
        part[query].Clear();
      }
      RunPartition(args, dims, tile, tile.first_partition + begin + p, place.last ? Reach{} : reach_of(task + 1),
                   runner, FindQueries(args, dims, tile, heads, positions, values, part));
    });
    stream.pool.ParallelFor(kv_heads, [&](int64_t kv_head, int) {
      for (int64_t p = 0; p < partitions; ++p) {
        for (int64_t query = kv_head * count; query < (kv_head + 1) * count; ++query) {
          whole[query].Merge(states[p * kv_heads * count + query]);
        }
      }
    });
  }
  stream.pool.ParallelFor(
      kv_heads, [&](int64_t kv_head, int) { WriteTile(args, dims, tile, kv_head, whole.From(kv_head * count)); });
}

}  // namespace

void Attention(Stream& stream, const AttentionArgs& args) {
  const Dims dims(args);
  const AttentionPlan plan = PlanAttention(args, stream.pool.threads(), stream.scratch);
  for (const AttentionTile& tile : plan.split) {
    RunSplit(stream, args, dims, tile);
  }
  RunWhole(stream, args, dims, plan);
}

}  // namespace causeway::kernels::CAUSEWAY_ISA
