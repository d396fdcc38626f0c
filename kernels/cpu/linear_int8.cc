// y = x W^T + bias for weights in panels (kernels/packed.h): x is quantized (kernels/quantized_x.h), products of codes
// add up exactly as integers inside a group of x, groups as float32.
//
// The order of every output's sum, whatever the batch: from zero, groups ascending, each one fused multiply-add of the
// group's integer with (weight scale * x scale), then one that takes the minimum off; then the bias. Where a scale of x
// meets several of the weight (of halves of a group, of the groups of a super-block): each integer times the weight's
// scale, less its minimum, adds up so on its own, from zero, and one fused multiply-add with the scale of x joins it.
// Where ScalesIntegers says so, scales and minima of super-blocks are multiplied as the whole numbers they are: exact
// sums of all that a scale of x meets; one times d, less the other times dmin, joins with the scale of x.
//
// A few panels stay in the near caches while a block of x passes, and the ones behind them come from memory. Each
// thread reads a stretch of its own from front to end.
#include "base/parallel_runs.h"
#include "kernels/cpu/linear_tile.h"
#include "kernels/cpu/ops.h"
#if defined(CAUSEWAY_ISA_AVX512_VNNI) || defined(CAUSEWAY_ISA_AVX2) || defined(CAUSEWAY_ISA_NEON)
#include "kernels/cpu/int8_tile.h"
#else
#include "kernels/cpu/int8_tile_scalar.h"
#endif
#include "kernels/cpu/quantize_x.h"
#include "kernels/rows_op.h"
#include "kernels/scratch.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr int64_t kTasksPerThread = 16;       // and block of x
constexpr int64_t kFetchedBytes = 256 << 10;  // of the next call's weights, by each thread that waits for it
constexpr int64_t kSerialX = 16384;           // values below which quantizing wakes no one
constexpr int64_t kSerialMade = 8192;         // and where they are made first
// Outputs that no near cache keeps until they are read: written past all of them, they need not be fetched first, nor
// take the place of x.
constexpr int64_t kStreamedOutputs = (1 << 20) / sizeof(float);

inline int64_t Least(int64_t a, int64_t b) { return a < b ? a : b; }

// A weight in panels, and where its outputs go.
struct Job {
  const LinearTarget& target;
  PackedKind kind;
  PanelShape shape;
  int64_t panels;
  bool streams;                         // outputs go past the caches
  bool asks;                            // for panels of the stretch that one row of x reads: LinearTuning
  const std::byte* unpacked = nullptr;  // what tiles take of their panels when it is unpacked, side by side

  Job(const LinearTarget& linear, int64_t m, const LinearTuning& tuning)
      : target(linear),
        kind(PackingOf(linear.weight.format).kind),
        shape(ShapeOfPanel(PackingOf(linear.weight.format), linear.weight.columns)),
        panels((linear.weight.rows + kPanelRows - 1) / kPanelRows),
        streams(m * linear.y_stride >= kStreamedOutputs && reinterpret_cast<uintptr_t>(linear.y) % 64 == 0 &&
                linear.y_stride % kPanelRows == 0),
        asks(tuning.asks_for_one_row) {}
};

// Of a panel, once unpacked.
int64_t UnpackedBytes(const Job& job) {
  const PackedTraits& traits = TraitsOf(job.kind);
  const int64_t code_bytes = UnpacksCodes(traits) ? UnpackedCodeBytes(traits) : 0;
  return job.target.weight.columns / kGroup * (code_bytes + UnpackedParamBytes(traits));
}

// R panels from `panel` on times C rows of x from `row` on. All arguments travel in registers: read back from memory in
// other pieces than they were written, they would wait there for the outputs of the tile before.
template <PackedKind kKind, int R, int C, bool kUnpacked>
__attribute__((noinline)) void RunTile(const Job& job, const QuantizedX& x, int64_t panel, int64_t row, Ahead ahead) {
  const LinearTarget& target = job.target;
  const std::byte* panels[R];
  const std::byte* unpacked[R];
  Sums sums[R][C];
  CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) {
    panels[r] = target.weight.data + (panel + r) * job.shape.bytes;
    unpacked[r] = kUnpacked ? job.unpacked + r * UnpackedBytes(job) : nullptr;
    CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
      ClearSums(sums[r][c]);
      if (!job.streams) {  // asked for now, so that the stores do not wait
        __builtin_prefetch(target.y + (row + c) * target.y_stride + (panel + r) * kPanelRows, 1, 3);
      }
    }
  }
  const QuantizedX rows{x.Row(row), x.shape, x.per_row, x.stride};
  AddGroups<kKind, R, C, kUnpacked>(panels, unpacked, job.shape, rows, ahead, sums);
  CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) {
    const int64_t first = (panel + r) * kPanelRows;
    const LaneMask mask = MaskOf(Least(kPanelRows, target.weight.rows - first));
    float* const y = target.y + row * target.y_stride + first;
    CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
      if (target.bias != nullptr) {
        AddBias(target.bias + first, mask, sums[r][c]);
      }
      if (job.streams && first + kPanelRows <= target.weight.rows) {
        StreamSums(y + c * target.y_stride, sums[r][c]);
      } else {
        StoreSums(y + c * target.y_stride, mask, sums[r][c]);
      }
    }
  }
}

using Tile = void (*)(const Job&, const QuantizedX&, int64_t panel, int64_t row, Ahead);

#if defined(CAUSEWAY_LOW_TILES)
constexpr int kHeight = 2;
#else
constexpr int kHeight = kMaxHeight;  // rows of x in the highest tile
#endif

// Rows of x from which on panels are unpacked once for all of them: two tiles pay for small floats, three for signs,
// four for all else. Tiles are then no lower than so much.
constexpr int64_t UnpackedRows(const PackedTraits& traits) {
  return traits.small_floats() ? kHeight + 2 : UnpacksSigns(traits) ? 2 * kHeight + 4 : 4 * kHeight;
}
constexpr int LeastUnpackedHeight(const PackedTraits& traits) {
  return kHeight - (traits.small_floats() || UnpacksSigns(traits) ? 2 : 1);
}
constexpr bool Unpacks(const PackedTraits& traits) { return UnpacksCodes(traits) || traits.unpacks_params(); }

// Tiles of one kind and height: by their width, from 1 to kMaxWidth; null: a width that height is not run with.
constexpr int kMaxWidth = 4;
template <PackedKind kKind, int R, int C, bool kUnpacked>
constexpr Tile TileIf() {
  // Of a batch whose highest tile is C + 1 high, those of height C are as wide.
  constexpr bool kWidth = R == 1 || R == WidthOf(C) || R == WidthOf(C + 1);
  constexpr bool kAsked =
      !kUnpacked || (kCanUnpack && Unpacks(TraitsOf(kKind)) && C >= LeastUnpackedHeight(TraitsOf(kKind)));
  if constexpr (kWidth && kAsked) {
    return RunTile<kKind, R, C, kUnpacked>;
  } else {
    return nullptr;
  }
}
struct TileRow {
  Tile of_width[kMaxWidth];
};
template <PackedKind kKind, bool kUnpacked, int C>
constexpr TileRow TilesOf() {
  return {{TileIf<kKind, 1, C, kUnpacked>(), TileIf<kKind, 2, C, kUnpacked>(), TileIf<kKind, 3, C, kUnpacked>(),
           TileIf<kKind, 4, C, kUnpacked>()}};
}
using Unpack = void (*)(const std::byte* panel, const PanelShape& shape, int64_t groups, std::byte* to);
// What is there for one kind.
struct KindCode {
  TileRow tiles[2][kHeight];  // of packed panels, of unpacked ones; by height
  Unpack unpack;              // null: they are not unpacked
};

// Codes of all groups, then their scales and minima.
template <PackedKind kKind>
void UnpackPanel(const std::byte* panel, const PanelShape& shape, int64_t groups, std::byte* to) {
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  if constexpr (UnpacksCodes(kTraits)) {
    for (int64_t g = 0; g < groups; ++g, to += UnpackedCodeBytes(kTraits)) {
      UnpackCodes<kKind>(panel + GroupPlace(shape, g).codes, to, std::make_integer_sequence<int, kQuads>());
    }
  }
  if constexpr (kTraits.unpacks_params()) {
    UnpackParams<kKind>(panel, shape, groups, to);
  }
}
template <PackedKind kKind, int... kLess>
constexpr KindCode CodeOf(std::integer_sequence<int, kLess...>) {
  return {{{TilesOf<kKind, false, kLess + 1>()...}, {TilesOf<kKind, true, kLess + 1>()...}},
          kCanUnpack && Unpacks(TraitsOf(kKind)) ? UnpackPanel<kKind> : nullptr};
}
template <size_t... kIndex>
const KindCode& CodeFor(PackedKind kind, std::index_sequence<kIndex...>) {
  static constexpr KindCode kCodes[] = {
      CodeOf<kPackedTraits[kIndex + 1].kind>(std::make_integer_sequence<int, kHeight>())...};  // but of kNone
  return kCodes[static_cast<size_t>(kind) - 1];
}
const KindCode& CodeFor(PackedKind kind) { return CodeFor(kind, std::make_index_sequence<kPackedKinds - 1>()); }

// Rows of x from `first` on, in tiles of nearly equal height.
struct Heights {
  int64_t first, rows, tiles, width;

  Heights(int64_t begin, int64_t end)
      : first(begin),
        rows(end - begin),
        tiles((rows + kHeight - 1) / kHeight),
        width(WidthOf(static_cast<int>((rows + tiles - 1) / tiles))) {}
  int64_t Begin(int64_t tile) const { return first + rows * tile / tiles; }
};

// Panels that a thread goes on with.
struct Stretch {
  const std::byte* data = nullptr;
  int64_t bytes = 0;
};

// What a tile asks for of what comes next: its share of the lines, evenly over its groups. Several tiles, which do not
// wait for memory, take whole lines a group: a loop of always the same length.
Ahead ShareOf(const Stretch& next, const QuantizedX& x, int64_t tile, int64_t tiles) {
  const int64_t lines = next.bytes / 64;
  const int64_t groups = tiles * x.per_row;
  const int64_t whole = int64_t{1} << Ahead::kFraction;
  const int64_t pace = (lines * whole + groups - 1) / groups;
  if (tiles == 1) {
    return {next.data, pace};
  }
  const int64_t rounded = (pace + whole - 1) / whole;
  const int64_t first = tile * x.per_row * rounded;
  if (first >= lines) {  // others have asked for all, or there are none
    return {};
  }
  return {next.data + first * 64, rounded * whole};
}

// A few panels at a time over all rows of x; meanwhile the next ones come from memory, after the last ones `after`.
// With `room` what takes long to make of the panels is made there first.
void RunRows(Job job, const QuantizedX& x, const Heights& heights, int64_t begin, int64_t end, const Stretch& after,
             std::byte* room) {
  const KindCode& code = CodeFor(job.kind);
  const auto& tiles = code.tiles[room == nullptr ? 0 : 1];
  job.unpacked = room;
  for (int64_t panel = begin; panel < end;) {
    const int64_t width = panel + heights.width <= end ? heights.width : 1;
    for (int64_t i = 0; room != nullptr && i < width; ++i) {
      code.unpack(job.target.weight.data + (panel + i) * job.shape.bytes, job.shape, job.target.weight.columns / kGroup,
                  room + i * UnpackedBytes(job));
    }
    const int64_t most = width * job.shape.bytes;
    const int64_t next = panel + width;
    const std::byte* const behind = job.target.weight.data + next * job.shape.bytes;
    Stretch stretch = next < end ? Stretch{behind, Least(most, (end - next) * job.shape.bytes)}
                                 : Stretch{after.data, Least(most, after.bytes)};
    if (stretch.data == behind && width == 1 && heights.tiles == 1 && !job.asks) {
      stretch = {};  // one stream, read once: hardware runs ahead of it
    }
    for (int64_t tile = 0; tile < heights.tiles; ++tile) {
      const int64_t row = heights.Begin(tile);
      const Ahead ahead = ShareOf(stretch, x, tile, heights.tiles);
      tiles[heights.Begin(tile + 1) - row - 1].of_width[width - 1](job, x, panel, row, ahead);
    }
    panel += width;
  }
}

// The rows of x in blocks of nearly equal size, one after the other; all but the last are whole tiles.
struct Blocks {
  int64_t rows, count;

  Blocks(int64_t m, int64_t most) : rows(m), count((m + most - 1) / most) {}
  int64_t Begin(int64_t i) const { return i == count ? rows : rows * i / count / kHeight * kHeight; }
  Heights operator[](int64_t i) const { return {Begin(i), Begin(i + 1)}; }
};

void RunPanels(const Job& job, const QuantizedX& x, const Heights& heights, int64_t begin, int64_t end,
               const Stretch& after, Scratch& scratch, int worker) {
  const bool unpacks = CodeFor(job.kind).unpack != nullptr && heights.rows >= UnpackedRows(TraitsOf(job.kind));
  std::byte* const room = unpacks ? scratch.Worker(worker, heights.width * UnpackedBytes(job)) : nullptr;
  RunRows(job, x, heights, begin, end, after, room);
  EndStreaming();
}

const WeightView& WeightOf(const LinearTarget& target) { return target.weight; }
const WeightView& WeightOf(const WeightView* weight) { return *weight; }

int64_t PanelsOf(const WeightView& weight) { return (weight.rows + kPanelRows - 1) / kPanelRows; }

// Whether a weight is in panels and takes x in groups of this shape.
bool TakesGroups(const WeightView& weight, const XShape& shape) {
  return weight.layout == WeightLayout::kPanels && XShapeOf(PackingOf(weight.format)) == shape;
}

// How a call falls into tasks: the targets that take x in groups of one shape, each cut into stretches of panels, for
// one block of x after the other: it then comes into the near caches once, and panels, which are asked for ahead, again
// from far away.
template <typename Target>
class Split {
 public:
  // A task: panels [begin, end) of a target times a block of x.
  struct Task {
    const Target* target;
    int64_t begin, end, block;
  };

  Split(std::span<const Target> targets, const XShape& shape, int64_t m, const Stream& stream)
      : targets_(targets), shape_(shape), threads_(stream.pool.threads()) {
    int64_t panels = 0;
    for (const Target& target : targets) {
      if (TakesGroups(WeightOf(target), shape)) {
        panels += PanelsOf(WeightOf(target));
        columns_ = WeightOf(target).columns;
      }
    }
    blocks_ = Blocks(m, stream.tuning.BlockRows(QuantizedX::StrideOf(columns_, shape)));
    const int64_t width = blocks_[0].width;
    const int64_t share = panels / (threads_ * kTasksPerThread);
    task_panels_ = (share + width - 1) / width * width + (share == 0 ? width : 0);
    for (const Target& target : targets) {
      block_tasks_ += TasksOf(target);
    }
  }

  int64_t tasks() const { return block_tasks_ * blocks_.count; }
  int64_t columns() const { return columns_; }  // 0 if there are no tasks
  const Blocks& blocks() const { return blocks_; }

  Task operator[](int64_t task) const {
    const int64_t block = block_tasks_ == 0 ? 0 : task / block_tasks_;
    task -= block * block_tasks_;
    for (const Target& target : targets_) {
      if (task < TasksOf(target)) {
        const int64_t begin = task * task_panels_;
        return {&target, begin, Least(PanelsOf(WeightOf(target)), begin + task_panels_), block};
      }
      task -= TasksOf(target);
    }
    return {nullptr, 0, 0, 0};
  }
  // What a worker begins with, once ParallelRuns has dealt tasks out.
  Task FirstOf(int worker) const { return (*this)[BeginOfRun(tasks(), RunsOf(threads_), worker % RunsOf(threads_))]; }

  Stretch StretchOf(const Task& task) const {
    if (task.target == nullptr) {
      return {};
    }
    const WeightView& weight = WeightOf(*task.target);
    const int64_t bytes = ShapeOfPanel(PackingOf(weight.format), weight.columns).bytes;
    return {weight.data + task.begin * bytes, (task.end - task.begin) * bytes};
  }

 private:
  int64_t TasksOf(const Target& target) const {
    return TakesGroups(WeightOf(target), shape_) ? (PanelsOf(WeightOf(target)) + task_panels_ - 1) / task_panels_ : 0;
  }

  std::span<const Target> targets_;
  XShape shape_;
  int threads_;
  Blocks blocks_{1, 1};
  int64_t columns_ = 0;
  int64_t task_panels_ = 1;
  int64_t block_tasks_ = 0;
};

// Runs the targets that take x in groups of this shape.
void RunTargets(Stream& stream, const LinearArgs& args, const Ops& makers, const XShape& shape) {
  const Split<LinearTarget> split(args.targets, shape, args.m, stream);
  if (split.tasks() == 0) {
    return;
  }
  const int64_t columns = split.columns();
  const QuantizedX x = QuantizedX::In(stream.scratch.Shared(QuantizedX::Bytes(args.m, columns, shape)), columns, shape);
  const auto quantize = [&](int64_t row, int worker) {
    if (args.made_by == nullptr) {
      QuantizeRow<true>(args.x + row * args.x_stride, row, x);
    } else {
      std::byte* const room = stream.scratch.Worker(worker, columns * static_cast<int64_t>(sizeof(float)));
      float* const made = reinterpret_cast<float*>(room);
      MakeRow(makers, stream, *args.made_by, row, made);
      QuantizeRow<false>(made, row, x);
    }
  };
  if (args.m * columns < (args.made_by == nullptr ? kSerialX : kSerialMade)) {
    for (int64_t row = 0; row < args.m; ++row) {
      quantize(row, 0);
    }
  } else {
    stream.pool.ParallelFor(args.m, quantize);
  }
  const Split<const WeightView*> next(args.next, shape, args.m, stream);
  ParallelRuns(stream.pool, split.tasks(), [&](int64_t index, int worker) {
    const auto task = split[index];
    const bool ends = PlaceInRun(index, split.tasks(), stream.pool.threads()).last;
    const Stretch after = ends ? next.StretchOf(next.FirstOf(worker)) : split.StretchOf(split[index + 1]);
    RunPanels(Job(*task.target, args.m, stream.tuning), x, split.blocks()[task.block], task.begin, task.end, after,
              stream.scratch, worker);
    if (ends) {
      stream.pool.FetchWhileWaiting(worker, after.data, Least(after.bytes, kFetchedBytes));
    }
  });
}

}  // namespace

void LinearPanels(Stream& stream, const LinearArgs& args, const Ops& makers) {
  RunTargets(stream, args, makers, {kGroup, 1});
  RunTargets(stream, args, makers, {kGroup, kWideGroups});
  RunTargets(stream, args, makers, {kGroup * kWideGroups, 1});
}

}  // namespace causeway::kernels::CAUSEWAY_ISA
