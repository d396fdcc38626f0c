// y += x S^T. An entry is read once for a tile of x rows, whose values of one column lie side by side: x is transposed
// for that, kTile rows at a time. Few rows of x are read as they lie. Products are multiplied and added one by one in
// both, so a row's bits do not depend on how many there are.
#include <algorithm>

#include "kernels/cpu/ops.h"
#include "kernels/quant/float16.h"
#include "kernels/scratch.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr int64_t kTile = 16;       // rows of x side by side
constexpr int64_t kFew = 4;         // as many rows of x are not worth a transposition
constexpr int64_t kStripRows = 64;  // of the weight: a task

// Columns of rows [first, first + count) of x as [columns][kTile]; what is not there is zero.
void Transpose(const SparseArgs& args, int64_t first, float* tile) {
  const int64_t count = std::min(kTile, args.m - first);
  for (int64_t column = 0; column < args.columns; ++column) {
    float* const lanes = tile + column * kTile;
    for (int64_t lane = 0; lane < kTile; ++lane) {
      lanes[lane] = lane < count ? args.x[(first + lane) * args.x_stride + column] : 0.0F;
    }
  }
}

void AddToTile(const SparseArgs& args, int64_t n, int64_t first, const float* tile) {
  float sums[kTile] = {};
  for (uint32_t i = args.weight.offsets[n]; i < args.weight.offsets[n + 1]; ++i) {
    const SparseEntry entry = args.weight.entries[i];
    const float value = HalfToFloat(entry.half);
    const float* const lanes = tile + entry.column * kTile;
    for (int64_t lane = 0; lane < kTile; ++lane) {
      sums[lane] += value * lanes[lane];
    }
  }
  const int64_t count = std::min(kTile, args.m - first);
  for (int64_t lane = 0; lane < count; ++lane) {
    args.y[(first + lane) * args.y_stride + n] += sums[lane];
  }
}

void AddToFew(const SparseArgs& args, int64_t n) {
  float sums[kFew] = {};
  for (uint32_t i = args.weight.offsets[n]; i < args.weight.offsets[n + 1]; ++i) {
    const SparseEntry entry = args.weight.entries[i];
    const float value = HalfToFloat(entry.half);
    for (int64_t m = 0; m < args.m; ++m) {
      sums[m] += value * args.x[m * args.x_stride + entry.column];
    }
  }
  for (int64_t m = 0; m < args.m; ++m) {
    args.y[m * args.y_stride + n] += sums[m];
  }
}

// By all threads, kStripRows rows of the weight at a time.
template <typename Add>
void ForEachRow(Stream& stream, int64_t rows, const Add& add) {
  stream.pool.ParallelFor((rows + kStripRows - 1) / kStripRows, [&](int64_t strip, int) {
    const int64_t end = std::min(rows, (strip + 1) * kStripRows);
    for (int64_t n = strip * kStripRows; n < end; ++n) {
      add(n);
    }
  });
}

}  // namespace

void Sparse(Stream& stream, const SparseArgs& args) {
  if (args.m <= kFew) {
    return ForEachRow(stream, args.rows, [&](int64_t n) { AddToFew(args, n); });
  }
  const int64_t tiles = (args.m + kTile - 1) / kTile;
  const int64_t tile_values = args.columns * kTile;
  auto* const transposed =
      reinterpret_cast<float*>(stream.scratch.Shared(tiles * tile_values * static_cast<int64_t>(sizeof(float))));
  stream.pool.ParallelFor(tiles,
                          [&](int64_t tile, int) { Transpose(args, tile * kTile, transposed + tile * tile_values); });
  for (int64_t tile = 0; tile < tiles; ++tile) {
    ForEachRow(stream, args.rows,
               [&](int64_t n) { AddToTile(args, n, tile * kTile, transposed + tile * tile_values); });
  }
}

}  // namespace causeway::kernels::CAUSEWAY_ISA
