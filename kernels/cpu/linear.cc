// y = x W^T + bias for weights as they lie in the file: row-major F32, F16 or BF16, never repacked. Rows of blocks are
// decoded to float32, some at a time, and then multiplied as if the file held them so: the same bits.
//
// The order of every output's sum, whatever the batch: k is cut into groups of Rows::kGroup at absolute
// positions; inside a group one vector accumulator takes the blocks of k in ascending order; a fixed tree
// folds its lanes; group sums are added in ascending order; then the bias.
//
// Up to kTall rows of x (decode): weights stream once from memory straight into the accumulators, kWide
// rows from far-apart places, because one stream does not reach the memory's rate. More rows: the first
// tile reads a few weight rows from the file and leaves them unpacked in the first-level cache (a strip),
// and the other rows of x pass over that.
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
  int64_t rows[kWide];  // of the weight
  int valid;            // the first so many of them; the others repeat the last one
  bool first;           // group of k
  bool last;
};

// Adds a group's sums to y: the first group starts it, the last one adds the bias. `at(n)` is a row of the
// weight.
template <int M, typename At>
CAUSEWAY_INLINE void DeliverRows(const Outputs& out, int64_t x_row, const TileSums& sums, int count, At at) {
  const LinearTarget& target = *out.target;
  float* y = target.y + x_row * target.y_stride;
  CAUSEWAY_UNROLL for (int m = 0; m < M; ++m, y += target.y_stride) {
    if (out.first) {
      CAUSEWAY_UNROLL for (int n = 0; n < count; ++n) { y[at(n)] = sums[n * kSumN + m * kSumM]; }
    } else {
      CAUSEWAY_UNROLL for (int n = 0; n < count; ++n) { y[at(n)] += sums[n * kSumN + m * kSumM]; }
    }
    if (out.last && target.bias != nullptr) {
      CAUSEWAY_UNROLL for (int n = 0; n < count; ++n) { y[at(n)] += target.bias[at(n)]; }
    }
  }
}

// Full tiles, all but the last of a weight, have no loop whose end could be mispredicted. kNext: the rows
// follow each other, so that a row of y takes them as vectors.
template <int M, bool kNext>
CAUSEWAY_INLINE void Deliver(const Outputs& out, int64_t x_row, const TileSums& sums) {
  if (out.valid < kWide) {
    DeliverRows<M>(out, x_row, sums, out.valid, [&](int n) { return out.rows[n]; });
  } else if constexpr (kNext) {
    DeliverRows<M>(out, x_row, sums, kWide, [row = out.rows[0]](int n) { return row + n; });
  } else {
    DeliverRows<M>(out, x_row, sums, kWide, [&](int n) { return out.rows[n]; });
  }
}

template <typename Rows, int M, bool kKeep, bool kAhead>
__attribute__((noinline)) void RunFileTile(const PackedX<Rows>& x, int64_t group, int64_t x_row,
                                           typename Rows::X* strip, const Outputs& out) {
  const WeightView& weight = out.target->weight;
  const std::byte* w[kWide];
  for (int n = 0; n < kWide; ++n) {
    w[n] = weight.data + out.rows[n] * weight.row_bytes + group * Rows::kGroup * Rows::kBytes;
  }
  TileSums sums;
  FileTile<Rows, M, kKeep, kAhead>(x.Row(group, x_row), w, x.LengthOf(group), strip, sums);
  Deliver<M, !kAhead>(out, x_row, sums);
}

template <typename Rows, int M>
__attribute__((noinline)) void RunStripTile(const PackedX<Rows>& x, int64_t group, int64_t x_row,
                                            const typename Rows::X* strip, int64_t padded, const Outputs& out) {
  TileSums sums;
  StripTile<Rows, M>(x.Row(group, x_row), strip, padded, sums);
  Deliver<M, true>(out, x_row, sums);
}

// ---- Few rows of x ---------------------------------------------------------------------------------

template <typename Rows>
void FewRowsOverGroups(const PackedX<Rows>& x, Outputs out) {
  for (int64_t group = 0; group < x.groups(); ++group) {
    out.first = group == 0;
    out.last = group + 1 == x.groups();
    switch (x.m) {
      case 1: RunFileTile<Rows, 1, false, true>(x, group, 0, nullptr, out); break;
      case 2: RunFileTile<Rows, 2, false, true>(x, group, 0, nullptr, out); break;
      case 3: RunFileTile<Rows, 3, false, true>(x, group, 0, nullptr, out); break;
      default: RunFileTile<Rows, 4, false, true>(x, group, 0, nullptr, out); break;
    }
  }
}

// Rows [begin, end) of the weight in lockstep from kWide parts of the range. The parts have an odd length,
// so that the streams do not lie at round distances.
template <typename Rows>
void FewRows(const PackedX<Rows>& x, const LinearTarget& target, int64_t begin, int64_t end) {
  Outputs out{&target, {}, kWide, true, true};
  int64_t part = (end - begin) / kWide;
  part -= part > kWide && part % 2 == 0 ? 1 : 0;
  for (int64_t i = 0; i < part; ++i) {
    for (int n = 0; n < kWide; ++n) {
      out.rows[n] = begin + n * part + i;
    }
    FewRowsOverGroups(x, out);
  }
  for (int64_t row = begin + kWide * part; row < end; row += kWide) {
    for (int n = 0; n < kWide; ++n) {
      out.rows[n] = Smaller(row + n, end - 1);
    }
    out.valid = static_cast<int>(Smaller(kWide, end - row));
    FewRowsOverGroups(x, out);
  }
}

// ---- Many rows of x --------------------------------------------------------------------------------

// The tallest tile that leaves no single row behind: 5 = 3 + 2, 6 = 3 + 3, 9 = 3 + 3 + 3.
int64_t NextTile(int64_t rows) { return rows == 5 || rows == 6 || rows == 9 ? 3 : Smaller(rows, kTall); }

// Asks for the weights of the strip to come, some rows with each tile of the one in hand: memory delivers
// while the tiles compute.
template <typename Rows>
class Prefetch {
 public:
  Prefetch(const std::byte* data, int64_t row_bytes, int64_t tiles)
      : data_(data), row_bytes_(row_bytes), per_tile_((kStripRows + tiles - 1) / tiles) {}

  void Next() {
    for (int64_t i = 0; i < per_tile_ && row_ < kStripRows; ++i, ++row_, data_ += row_bytes_) {
      CAUSEWAY_UNROLL for (int64_t at = 0; at < Rows::kGroup * Rows::kBytes; at += kLineBytes) {
        __builtin_prefetch(data_ + at, 0, 2);
      }
    }
  }

 private:
  const std::byte* data_;
  int64_t row_bytes_;
  int64_t per_tile_;
  int64_t row_ = 0;
};

// Up to kStripRows rows of the weight from `row` on, over one group and rows [x_begin, x_end) of x. The next
// strip begins at row `next_row`, group `next_group`.
template <typename Rows>
void RunStrip(const PackedX<Rows>& x, const LinearTarget& target, int64_t row, int64_t end, int64_t group,
              int64_t x_begin, int64_t x_end, int64_t next_row, int64_t next_group, typename Rows::X* strip) {
  const int64_t length = x.LengthOf(group);
  const int64_t padded = (length + kBlock - 1) / kBlock * kBlock;
  const int tiles = static_cast<int>((Smaller(kStripRows, end - row) + kWide - 1) / kWide);
  Outputs outs[kStripTiles];
  for (int tile = 0; tile < tiles; ++tile) {
    Outputs& out = outs[tile];
    out = {
        &target, {}, static_cast<int>(Smaller(kWide, end - row - tile * kWide)), group == 0, group + 1 == x.groups()};
    for (int n = 0; n < kWide; ++n) {
      out.rows[n] = Smaller(row + tile * kWide + n, end - 1);
    }
  }
  const WeightView& weight = target.weight;
  Prefetch<Rows> prefetch(weight.data + next_row * weight.row_bytes + next_group * Rows::kGroup * Rows::kBytes,
                          weight.row_bytes, tiles * ((x_end - x_begin + kTall - 1) / kTall));
  int64_t height = 0;
  for (int64_t m = x_begin; m < x_end; m += height) {
    height = NextTile(x_end - m);
    for (int tile = 0; tile < tiles; ++tile) {
      prefetch.Next();
      typename Rows::X* const unpacked = strip + tile * kWide * Rows::kStride;
      if (m == x_begin) {
        switch (height) {
          case 4: RunFileTile<Rows, 4, true, false>(x, group, m, unpacked, outs[tile]); break;
          case 3: RunFileTile<Rows, 3, true, false>(x, group, m, unpacked, outs[tile]); break;
          case 2: RunFileTile<Rows, 2, true, false>(x, group, m, unpacked, outs[tile]); break;
          default: RunFileTile<Rows, 1, true, false>(x, group, m, unpacked, outs[tile]); break;
        }
      } else {
        switch (height) {
          case 4: RunStripTile<Rows, 4>(x, group, m, unpacked, padded, outs[tile]); break;
          case 3: RunStripTile<Rows, 3>(x, group, m, unpacked, padded, outs[tile]); break;
          case 2: RunStripTile<Rows, 2>(x, group, m, unpacked, padded, outs[tile]); break;
          default: RunStripTile<Rows, 1>(x, group, m, unpacked, padded, outs[tile]); break;
        }
      }
    }
  }
}

// Rows [begin, end) of the weight. If all of x fits the second-level cache, whole weight rows one after
// the other, so that memory is read in order. Else one group of k at a time for as much of x as fits.
template <typename Rows>
void ManyRows(const PackedX<Rows>& x, const LinearTarget& target, int64_t begin, int64_t end, typename Rows::X* strip) {
  const int64_t row_bytes = Rows::kStride * static_cast<int64_t>(sizeof(typename Rows::X));
  if (x.m * x.groups() * row_bytes <= kCacheBytes) {
    for (int64_t row = begin; row < end; row += kStripRows) {
      for (int64_t group = 0; group < x.groups(); ++group) {
        const bool row_ends = group + 1 == x.groups();
        RunStrip(x, target, row, end, group, 0, x.m, row_ends ? Smaller(row + kStripRows, end - 1) : row,
                 row_ends ? 0 : group + 1, strip);
      }
    }
    return;
  }
  const int64_t x_rows = kCacheBytes / row_bytes / kTall * kTall;
  for (int64_t group = 0; group < x.groups(); ++group) {
    for (int64_t m = 0; m < x.m; m += x_rows) {
      for (int64_t row = begin; row < end; row += kStripRows) {
        RunStrip(x, target, row, end, group, m, Smaller(x.m, m + x_rows), Smaller(row + kStripRows, end - 1), group,
                 strip);
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
  stream.pool.ParallelFor(count, [&](int64_t task, int worker) {
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
