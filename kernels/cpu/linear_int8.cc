// y = x W^T + bias for weights in panels (kernels/packed.h): x is quantized (kernels/quantized_x.h), products of codes
// add up exactly as integers inside a group of 32, groups as float32.
//
// The order of every output's sum, whatever the batch: from zero, groups ascending, each one fused multiply-add of the
// group's integer with (weight scale * x scale), then one that takes the minimum off; then the bias. A sum that goes to
// y between chunks of k and comes back is the same float32.
//
// Up to kMaxHeight rows of x: panels stream once from memory, from several far-apart places. More: a chunk of k of a
// few panels stays in the first-level cache while all rows of x pass.
#include "kernels/cpu/linear_tile.h"
#include "kernels/cpu/ops.h"
#if defined(CAUSEWAY_ISA_AVX512_BF16)
#include "kernels/cpu/int8_tile_avx512.h"
#elif defined(CAUSEWAY_ISA_AVX2) || defined(CAUSEWAY_ISA_AVX512)
#include "kernels/cpu/int8_tile_avx2.h"
#else
#include "kernels/cpu/int8_tile_scalar.h"
#endif
#include "kernels/scratch.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr int64_t kFewTasksPerThread = 4;
constexpr int64_t kManyTasksPerThread = 16;
constexpr int64_t kChunkCodes = 16384;  // bytes of codes of a tile's panels that stay in the first-level cache
constexpr int64_t kSerialX = 16384;     // below this quantizing wakes no one

inline int64_t Least(int64_t a, int64_t b) { return a < b ? a : b; }

void QuantizeRow(const float* x, int64_t row, const QuantizedX& out) {
  int8_t* const codes = out.codes + row * out.stride;
  for (int64_t g = 0; g < out.per_row; ++g) {
    const float* const values = x + g * kGroup;
    Vec largest = Zero();
    Vec difference = Zero();  // NaN where a value is not finite
    for (int64_t i = 0; i < kGroup; i += kLanes) {
      const Vec v = Load(values + i);
      largest = Max(largest, Max(v, Sub(Zero(), v)));
      difference = Add(difference, Sub(v, v));
    }
    const bool finite = ReduceAdd(difference) == 0.0F;
    const float maximum = ReduceMax(largest);
    Vec sum = Zero();
    const float inverse = InverseXScale(maximum, finite);
    if (inverse == 0.0F) {
      std::memset(codes + g * kGroup, 0, kGroup);
    } else {
      for (int64_t i = 0; i < kGroup; i += kLanes) {
        const Vec rounded = RoundNearest(Mul(Load(values + i), Set1(inverse)));
        StoreCodes(codes + g * kGroup + i, rounded);
        sum = Add(sum, rounded);  // whole numbers: exact in any order
      }
    }
    out.groups[row * out.per_row + g] = MakeXGroup(maximum, finite, static_cast<int32_t>(ReduceAdd(sum)));
  }
}

// A weight in panels, and where its outputs go.
struct Job {
  const LinearTarget& target;
  PackedKind kind;
  PanelShape shape;
  int64_t panels;

  explicit Job(const LinearTarget& linear)
      : target(linear),
        kind(PackedKindOf(linear.weight.format)),
        shape(ShapeOfPanel(kind, linear.weight.columns)),
        panels((linear.weight.rows + kPanelRows - 1) / kPanelRows) {}
};

// R panels, `step` apart from `panel` on, times C rows of x from `row` on, over groups [begin, end).
template <PackedKind kKind, int R, int C>
__attribute__((noinline)) void RunTile(const Job& job, const QuantizedX& x, int64_t panel, int64_t step, int64_t row,
                                       int64_t begin, int64_t end) {
  const LinearTarget& target = job.target;
  const std::byte* panels[R];
  Sums sums[R][C];
  for (int r = 0; r < R; ++r) {
    panels[r] = target.weight.data + (panel + r * step) * job.shape.bytes;
  }
  float* const y = target.y + row * target.y_stride;
  const auto mask_of = [&](int r) {
    return MaskOf(Least(kPanelRows, target.weight.rows - (panel + r * step) * kPanelRows));
  };
  CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) {
    CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
      if (begin == 0) {
        ClearSums(sums[r][c]);
      } else {
        LoadSums(y + c * target.y_stride + (panel + r * step) * kPanelRows, mask_of(r), sums[r][c]);
      }
    }
  }
  const QuantizedX rows{x.codes + row * x.stride, x.groups + row * x.per_row, x.stride, x.per_row};
  AddGroups<kKind, R, C>(panels, job.shape, rows, begin, end, sums);
  const bool last = end == x.per_row;
  CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) {
    const int64_t at = (panel + r * step) * kPanelRows;
    CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
      if (last && target.bias != nullptr) {
        Sums bias;
        LoadSums(target.bias + at, mask_of(r), bias);
        AddTo(sums[r][c], bias);
      }
      StoreSums(y + c * target.y_stride + at, mask_of(r), sums[r][c]);
    }
  }
}

using Tile = void (*)(const Job&, const QuantizedX&, int64_t, int64_t, int64_t, int64_t, int64_t);

// Tiles of one kind by their height: as wide as few rows allow, of the width for many rows, of one panel.
struct TileRow {
  Tile few, many, one;
};
template <PackedKind kKind, int C>
constexpr TileRow TilesOf() {
  return {RunTile<kKind, FewWidth(C), C>, RunTile<kKind, kManyWidth, C>, RunTile<kKind, 1, C>};
}
template <PackedKind kKind>
const TileRow& TilesFor(int64_t height) {
  static constexpr TileRow kTiles[] = {
    TilesOf<kKind, 1>(),
    TilesOf<kKind, 2>(),
    TilesOf<kKind, 3>(),
    TilesOf<kKind, 4>(),
#if defined(CAUSEWAY_ISA_AVX512_BF16)
    TilesOf<kKind, 5>(),
    TilesOf<kKind, 6>(),
#endif
  };
  static_assert(sizeof(kTiles) / sizeof(kTiles[0]) == kMaxHeight);
  return kTiles[height - 1];
}
const TileRow& TilesFor(PackedKind kind, int64_t height) {
  switch (kind) {
    case PackedKind::kBytes: return TilesFor<PackedKind::kBytes>(height);
    case PackedKind::kNibblesSixBit: return TilesFor<PackedKind::kNibblesSixBit>(height);
    default: return TilesFor<PackedKind::kNibbles>(height);
  }
}

// Panels [begin, end) in lockstep from as many parts of the range as a tile has panels.
void FewRows(const Job& job, const QuantizedX& x, int64_t m, int64_t begin, int64_t end) {
  const TileRow& tiles = TilesFor(job.kind, m);
  const int64_t width = FewWidth(static_cast<int>(m));
  const int64_t part = (end - begin) / width;
  for (int64_t i = 0; i < part; ++i) {
    tiles.few(job, x, begin + i, part, 0, 0, x.per_row);
  }
  for (int64_t panel = begin + width * part; panel < end; ++panel) {
    tiles.one(job, x, panel, 0, 0, 0, x.per_row);
  }
}

// Tiles of nearly equal height over all rows of x, for one chunk of k after the other.
void ManyRows(const Job& job, const QuantizedX& x, int64_t m, int64_t begin, int64_t end) {
  const int64_t tiles = (m + kMaxHeight - 1) / kMaxHeight;
  const int64_t chunk = kChunkCodes / (kManyWidth * GroupCodeBytes(job.kind));
  for (int64_t g = 0; g < x.per_row; g += chunk) {  // outside, so that this part of x stays in the second-level cache
    for (int64_t panel = begin; panel < end; panel += kManyWidth) {
      const bool whole = panel + kManyWidth <= end;
      for (int64_t tile = 0; tile < tiles; ++tile) {
        const int64_t row = m * tile / tiles;
        const TileRow& row_tiles = TilesFor(job.kind, m * (tile + 1) / tiles - row);
        const int64_t g_end = Least(x.per_row, g + chunk);
        if (whole) {
          row_tiles.many(job, x, panel, 1, row, g, g_end);
        } else {
          for (int64_t rest = panel; rest < end; ++rest) {
            row_tiles.one(job, x, rest, 0, row, g, g_end);
          }
        }
      }
    }
  }
}

}  // namespace

void LinearPanels(Stream& stream, const LinearArgs& args) {
  int64_t panels = 0;
  int64_t columns = 0;
  for (const LinearTarget& target : args.targets) {
    if (target.weight.layout == WeightLayout::kPanels) {
      panels += (target.weight.rows + kPanelRows - 1) / kPanelRows;
      columns = target.weight.columns;
    }
  }
  if (panels == 0) {
    return;
  }
  const QuantizedX x = QuantizedX::In(stream.scratch.Shared(QuantizedX::Bytes(args.m, columns)), args.m, columns);
  const auto quantize = [&](int64_t row, int) { QuantizeRow(args.x + row * args.x_stride, row, x); };
  if (args.m * columns < kSerialX) {
    for (int64_t row = 0; row < args.m; ++row) {
      quantize(row, 0);
    }
  } else {
    stream.pool.ParallelFor(args.m, quantize);
  }
  const bool few = args.m <= kMaxHeight;
  const int64_t width = few ? FewWidth(static_cast<int>(args.m)) : kManyWidth;
  const int64_t share = panels / (stream.pool.threads() * (few ? kFewTasksPerThread : kManyTasksPerThread));
  const int64_t task_panels = (share + width - 1) / width * width + (share == 0 ? width : 0);
  const auto tasks_of = [&](const LinearTarget& target) {
    const int64_t own = (target.weight.rows + kPanelRows - 1) / kPanelRows;
    return target.weight.layout == WeightLayout::kPanels ? (own + task_panels - 1) / task_panels : 0;
  };
  int64_t tasks = 0;
  for (const LinearTarget& target : args.targets) {
    tasks += tasks_of(target);
  }
  stream.pool.ParallelFor(tasks, [&](int64_t task, int) {
    for (const LinearTarget& target : args.targets) {
      if (task < tasks_of(target)) {
        const Job job(target);
        const int64_t begin = task * task_panels;
        const int64_t end = Least(job.panels, begin + task_panels);
        return few ? FewRows(job, x, args.m, begin, end) : ManyRows(job, x, args.m, begin, end);
      }
      task -= tasks_of(target);
    }
  });
}

}  // namespace causeway::kernels::CAUSEWAY_ISA
