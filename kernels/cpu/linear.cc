// y = x W^T + bias for weights as they lie in the file: row-major F32, F16 or BF16, never repacked. Rows of blocks are
// decoded to float32, some at a time, and then multiplied as if the file held them so: the same bits.
//
// The order of every output's sum, whatever the batch: k is cut into groups of Rows::kGroup at absolute
// positions; inside a group one vector accumulator takes the blocks of k in ascending order; a fixed tree
// folds its lanes; group sums are added in ascending order; then the bias.
//
// Weights come from memory in one stream: while a tile computes, it asks for its share of the rows that come next. Up
// to kTall rows of x (decode) a tile takes a few weight rows as they arrive. More rows: the first tile leaves them
// unpacked in the first-level cache (a strip), and the other rows of x pass over that.
#include "base/parallel_runs.h"
#include "kernels/cpu/linear_tile.h"
#include "kernels/cpu/ops.h"
#include "kernels/scratch.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr int kStripTiles = kWide == 3 ? 2 : 1;  // tiles side by side that share a pass over x
constexpr int kStripRows = kStripTiles * kWide;
// Of x that a second-level cache can keep: half of what machines have (512 KiB, with AVX-512 one MiB).
constexpr int64_t kCacheBytes = (kWide == 3 ? 256 : 512) * 1024;
constexpr int64_t kDecodedRows = 2 * kStripRows;  // of blocks at a time: what the second-level cache keeps
constexpr int64_t kTasksPerThread = 16;
constexpr int64_t kSerialValues = 65536;  // below this packing wakes no one

inline int64_t Smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// Where a tile's sums go.
struct Outputs {
  const LinearTarget* target;
  int64_t row;  // of the weight: the first of kWide
  int64_t end;  // of the task's rows: those from here on repeat the one before
  bool first;   // group of k
  bool last;
};

// Adds a group's sums to y: the first group starts it, the last one adds the bias.
template <int M>
CAUSEWAY_INLINE void DeliverRows(const Outputs& out, int64_t x_row, const TileSums& sums, int count) {
  const LinearTarget& target = *out.target;
  float* y = target.y + x_row * target.y_stride + out.row;
  CAUSEWAY_UNROLL for (int m = 0; m < M; ++m, y += target.y_stride) {
    if (out.first) {
      CAUSEWAY_UNROLL for (int n = 0; n < count; ++n) { y[n] = sums[n * kSumN + m * kSumM]; }
    } else {
      CAUSEWAY_UNROLL for (int n = 0; n < count; ++n) { y[n] += sums[n * kSumN + m * kSumM]; }
    }
    if (out.last && target.bias != nullptr) {
      CAUSEWAY_UNROLL for (int n = 0; n < count; ++n) { y[n] += target.bias[out.row + n]; }
    }
  }
}

// Full tiles, all but the last of a weight, have no loop whose end could be mispredicted.
template <int M>
CAUSEWAY_INLINE void Deliver(const Outputs& out, int64_t x_row, const TileSums& sums) {
  if (out.row + kWide <= out.end) {
    DeliverRows<M>(out, x_row, sums, kWide);
  } else {
    DeliverRows<M>(out, x_row, sums, static_cast<int>(out.end - out.row));
  }
}

template <typename Rows, int M, bool kKeep>
__attribute__((noinline)) void RunFileTile(const PackedX<Rows>& x, int64_t group, int64_t x_row,
                                           typename Rows::X* strip, Ahead ahead, const Outputs& out) {
  const WeightView& weight = out.target->weight;
  const std::byte* w[kWide];
  for (int n = 0; n < kWide; ++n) {
    w[n] = weight.data + Smaller(out.row + n, out.end - 1) * weight.row_bytes + group * Rows::kGroup * Rows::kBytes;
  }
  TileSums sums;
  FileTile<Rows, M, kKeep>(x.Row(group, x_row), w, x.LengthOf(group), strip, ahead, sums);
  Deliver<M>(out, x_row, sums);
}

template <typename Rows, int M>
__attribute__((noinline)) void RunStripTile(const PackedX<Rows>& x, int64_t group, int64_t x_row,
                                            const typename Rows::X* strip, Ahead ahead, const Outputs& out) {
  TileSums sums;
  StripTile<Rows, M>(x.Row(group, x_row), strip, x.LengthOf(group), ahead, sums);
  Deliver<M>(out, x_row, sums);
}

// What a tile asks for: its share of the rows that come next. `rows` of them from `next` on, one behind the other,
// while `tiles` tiles go over each group.
template <typename Rows>
struct RowsAhead {
  const std::byte* next;
  int64_t rows;
  int64_t tiles;

  // For the tile-th of a group's.
  Ahead Of(int64_t group, int64_t tile) const {
    const int64_t share = rows * Rows::kGroup * Rows::kBytes;  // of a group
    const int64_t turns = tiles * (Rows::kGroup / kBlock);
    return {next + (group * share + tile * share / tiles) / kLineBytes * kLineBytes,
            ((share / kLineBytes << Ahead::kFraction) + turns - 1) / turns};
  }
};

// ---- Few rows of x ---------------------------------------------------------------------------------

// Rows [begin, end) of the weight, a tile's after the other.
template <typename Rows>
void FewRows(const PackedX<Rows>& x, const LinearTarget& target, int64_t begin, int64_t end) {
  const WeightView& weight = target.weight;
  for (int64_t row = begin; row < end; row += kWide) {
    const RowsAhead<Rows> ahead{weight.data + (row + kWide) * weight.row_bytes, kWide, 1};
    for (int64_t group = 0; group < x.groups(); ++group) {
      const Outputs out{&target, row, end, group == 0, group + 1 == x.groups()};
      switch (x.m) {
        case 1: RunFileTile<Rows, 1, false>(x, group, 0, nullptr, ahead.Of(group, 0), out); break;
        case 2: RunFileTile<Rows, 2, false>(x, group, 0, nullptr, ahead.Of(group, 0), out); break;
        case 3: RunFileTile<Rows, 3, false>(x, group, 0, nullptr, ahead.Of(group, 0), out); break;
        default: RunFileTile<Rows, 4, false>(x, group, 0, nullptr, ahead.Of(group, 0), out); break;
      }
    }
  }
}

// ---- Many rows of x --------------------------------------------------------------------------------

// The tallest tile that leaves no single row behind: 5 = 3 + 2, 6 = 3 + 3, 9 = 3 + 3 + 3.
int64_t NextTile(int64_t rows) { return rows == 5 || rows == 6 || rows == 9 ? 3 : Smaller(rows, kTall); }

// Up to kStripRows rows of the weight from `row` on, over one group and rows [x_begin, x_end) of x. `ahead_of(tile)` is
// what the tile-th tile asks for.
template <typename Rows, typename AheadOf>
void RunStrip(const PackedX<Rows>& x, const LinearTarget& target, int64_t row, int64_t end, int64_t group,
              int64_t x_begin, int64_t x_end, const AheadOf& ahead_of, typename Rows::X* strip) {
  int64_t count = 0;
  int64_t height = 0;
  for (int64_t m = x_begin; m < x_end; m += height) {
    height = NextTile(x_end - m);
    typename Rows::X* unpacked = strip;
    for (int64_t at = row; at < Smaller(row + kStripRows, end); at += kWide, unpacked += kWide * Rows::kStride) {
      const Outputs out{&target, at, end, group == 0, group + 1 == x.groups()};
      const Ahead ahead = ahead_of(count++);
      if (m == x_begin) {
        switch (height) {
          case 4: RunFileTile<Rows, 4, true>(x, group, m, unpacked, ahead, out); break;
          case 3: RunFileTile<Rows, 3, true>(x, group, m, unpacked, ahead, out); break;
          case 2: RunFileTile<Rows, 2, true>(x, group, m, unpacked, ahead, out); break;
          default: RunFileTile<Rows, 1, true>(x, group, m, unpacked, ahead, out); break;
        }
      } else {
        switch (height) {
          case 4: RunStripTile<Rows, 4>(x, group, m, unpacked, ahead, out); break;
          case 3: RunStripTile<Rows, 3>(x, group, m, unpacked, ahead, out); break;
          case 2: RunStripTile<Rows, 2>(x, group, m, unpacked, ahead, out); break;
          default: RunStripTile<Rows, 1>(x, group, m, unpacked, ahead, out); break;
        }
      }
    }
  }
}

// Rows [begin, end) of the weight. If all of x fits the second-level cache, whole weight rows one after
// the other, so that memory is read in order. Else one group of k at a time for as much of x as fits.
template <typename Rows>
void ManyRows(const PackedX<Rows>& x, const LinearTarget& target, int64_t begin, int64_t end, typename Rows::X* strip) {
  const WeightView& weight = target.weight;
  const int64_t row_bytes = Rows::kStride * static_cast<int64_t>(sizeof(typename Rows::X));
  if (x.m * x.groups() * row_bytes <= kCacheBytes) {
    const int64_t tiles = kStripTiles * ((x.m + kTall - 1) / kTall);
    for (int64_t row = begin; row < end; row += kStripRows) {
      const RowsAhead<Rows> ahead{weight.data + (row + kStripRows) * weight.row_bytes, kStripRows, tiles};
      for (int64_t group = 0; group < x.groups(); ++group) {
        RunStrip(
            x, target, row, end, group, 0, x.m, [&](int64_t tile) { return ahead.Of(group, tile); }, strip);
      }
    }
    return;
  }
  const int64_t x_rows = kCacheBytes / row_bytes / kTall * kTall;
  for (int64_t group = 0; group < x.groups(); ++group) {
    for (int64_t m = 0; m < x.m; m += x_rows) {
      for (int64_t row = begin; row < end; row += kStripRows) {
        const std::byte* const next =
            weight.data + (row + kStripRows) * weight.row_bytes + group * Rows::kGroup * Rows::kBytes;
        // Each tile asks for a row's part, until there are as many as rows.
        const auto ahead_of = [&](int64_t tile) {
          return tile < kStripRows ? RowsAhead<Rows>{next + tile * weight.row_bytes, 1, 1}.Of(0, 0) : Ahead{};
        };
        RunStrip(x, target, row, end, group, m, Smaller(x.m, m + x_rows), ahead_of, strip);
      }
    }
  }
}

// ---- The call --------------------------------------------------------------------------------------

// Whether a packing takes a weight.
using Takes = bool (*)(const WeightView& weight);
template <FormatId kId>
bool TakesOnly(const WeightView& weight) {
  return weight.layout == WeightLayout::kRows && weight.format == kId;
}
bool TakesFloatsAndBlocks(const WeightView& weight) {
  return weight.layout == WeightLayout::kRows &&
         (weight.format == FormatId::kF32 || FormatOf(weight.format).block_elements > 1);
}

// Memory of one worker: a strip of unpacked weights, and behind it room for decoded rows of blocks.
template <typename Rows>
struct WorkerMemory {
  typename Rows::X* strip;
  std::byte* decoded;

  static constexpr int64_t kStripBytes = kStripRows * Rows::kStride * static_cast<int64_t>(sizeof(typename Rows::X));
  static int64_t Bytes(int64_t decoded_columns) {
    return kStripBytes + kDecodedRows * decoded_columns * static_cast<int64_t>(sizeof(float));
  }
  explicit WorkerMemory(std::byte* memory)
      : strip(reinterpret_cast<typename Rows::X*>(memory)), decoded(memory + kStripBytes) {}
};

// Targets of one packing: their weight rows, cut into tasks of about task_rows.
template <typename Rows>
class Tasks {
 public:
  Tasks(std::span<const LinearTarget> targets, Takes takes, int threads) : targets_(targets), takes_(takes) {
    int64_t rows = 0;
    for (const LinearTarget& target : targets) {
      rows += takes_(target.weight) ? target.weight.rows : 0;
    }
    const int64_t share = rows / (kTasksPerThread * threads);
    task_rows_ = (share / kStripRows + 1) * kStripRows;
  }
  int64_t count() const {
    int64_t count = 0;
    for (const LinearTarget& target : targets_) {
      count += CountOf(target);
    }
    return count;
  }
  // Of the rows that must be decoded first; 0 if there are none.
  int64_t decoded_columns() const {
    int64_t columns = 0;
    for (const LinearTarget& target : targets_) {
      columns = takes_(target.weight) && IsBlocks(target) ? target.weight.columns : columns;
    }
    return columns;
  }
  void Run(int64_t task, const PackedX<Rows>& x, const WorkerMemory<Rows>& memory) const {
    for (const LinearTarget& target : targets_) {
      const int64_t count = CountOf(target);
      if (task < count) {
        const int64_t begin = task * task_rows_;
        const int64_t end = Smaller(target.weight.rows, begin + task_rows_);
        return IsBlocks(target) ? RunDecoded(x, target, begin, end, memory)
                                : RunRows(x, target, begin, end, memory.strip);
      }
      task -= count;
    }
  }

 private:
  static bool IsBlocks(const LinearTarget& target) { return FormatOf(target.weight.format).block_elements > 1; }

  static void RunRows(const PackedX<Rows>& x, const LinearTarget& target, int64_t begin, int64_t end,
                      typename Rows::X* strip) {
    x.m <= kTall ? FewRows(x, target, begin, end) : ManyRows(x, target, begin, end, strip);
  }

  // Rows [begin, end), decoded kDecodedRows at a time into a float32 weight of their own.
  static void RunDecoded(const PackedX<Rows>& x, const LinearTarget& target, int64_t begin, int64_t end,
                         const WorkerMemory<Rows>& memory) {
    const WeightView& weight = target.weight;
    const auto decode = FormatOf(weight.format).decode;
    for (int64_t row = begin; row < end; row += kDecodedRows) {
      const int64_t rows = Smaller(kDecodedRows, end - row);
      auto* const values = reinterpret_cast<float*>(memory.decoded);
      for (int64_t i = 0; i < rows; ++i) {
        decode(weight.data + (row + i) * weight.row_bytes, values + i * weight.columns, weight.columns);
      }
      const LinearTarget part{
          {memory.decoded, FormatId::kF32, rows, weight.columns, weight.columns * static_cast<int64_t>(sizeof(float))},
          target.bias == nullptr ? nullptr : target.bias + row,
          target.y + row,
          target.y_stride};
      RunRows(x, part, 0, rows, memory.strip);
    }
  }

  int64_t CountOf(const LinearTarget& target) const {
    return takes_(target.weight) ? (target.weight.rows + task_rows_ - 1) / task_rows_ : 0;
  }

  std::span<const LinearTarget> targets_;
  Takes takes_;
  int64_t task_rows_;
};

// All targets of one packing. Those of another cost a second packing of x, not an error: most files have one.
template <typename Rows>
void LinearOf(Stream& stream, const LinearArgs& args, Takes takes) {
  const Tasks<Rows> tasks(args.targets, takes, stream.pool.threads());
  const int64_t count = tasks.count();
  if (count == 0) {
    return;
  }
  const int64_t k = args.targets.data()->weight.columns;
  std::byte* const memory = stream.scratch.Shared(PackedX<Rows>::Bytes(args.m, k));
  const PackedX<Rows> x{reinterpret_cast<const typename Rows::X*>(memory), args.m, k};
  const auto pack = [&](int64_t row, int) { PackRow(args.x + row * args.x_stride, row, x); };
  if (args.m * k < kSerialValues) {
    for (int64_t row = 0; row < args.m; ++row) {
      pack(row, 0);
    }
  } else {
    stream.pool.ParallelFor(args.m, pack);
  }
  const int64_t worker_bytes = WorkerMemory<Rows>::Bytes(tasks.decoded_columns());
  ParallelRuns(stream.pool, count, [&](int64_t task, int worker) {
    tasks.Run(task, x, WorkerMemory<Rows>(stream.scratch.Worker(worker, worker_bytes)));
  });
}

}  // namespace

void LinearRows(Stream& stream, const LinearArgs& args) {
  LinearOf<F32Rows>(stream, args, TakesFloatsAndBlocks);
  LinearOf<F16Rows>(stream, args, TakesOnly<FormatId::kF16>);
#if defined(CAUSEWAY_ISA_AVX512_BF16)
  if (!args.targets.empty() && args.targets.data()->weight.columns > kOps.rounds_x_beyond) {
    return LinearOf<BF16DotRows>(stream, args, TakesOnly<FormatId::kBF16>);
  }
#endif
  LinearOf<BF16Rows>(stream, args, TakesOnly<FormatId::kBF16>);
}

}  // namespace causeway::kernels::CAUSEWAY_ISA
