// Keys of a block from rows to columns: out[dim][key], in the cache's format. A vector of a column holds one dim of
// neighbouring keys, so scores need no sums across lanes. Only data moves here: every table gets the same bytes.
#pragma once

#include <algorithm>

#include "kernels/cpu/vec.h"
#include "kernels/kv.h"

#if defined(CAUSEWAY_ISA_AVX512)
#include "kernels/cpu/transpose_avx512.h"
#elif defined(CAUSEWAY_ISA_AVX2)
#include "kernels/cpu/transpose_avx2.h"
#elif defined(CAUSEWAY_ISA_NEON)
#include "kernels/cpu/transpose_neon.h"
#endif

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr int64_t kBlock = kAttentionBlock;
constexpr int64_t kRuns = kBlock / kKvRun;

// Rows of a block: run i holds rows [i * kKvRun, (i + 1) * kKvRun), `row_bytes` apart.
struct RowRuns {
  const std::byte* runs[kRuns];
  int64_t row_bytes;

  const std::byte* At(int64_t row) const { return runs[row / kKvRun] + row % kKvRun * row_bytes; }
};

// Dims [begin, end) of rows [first, last), one value at a time.
inline void TransposeValues(const RowRuns& rows, int64_t first, int64_t last, int64_t begin, int64_t end,
                            int64_t value_bytes, std::byte* out) {
  for (int64_t key = first; key < last; ++key) {
    const std::byte* const row = rows.At(key);
    for (int64_t dim = begin; dim < end; ++dim) {
      std::memcpy(out + (dim * kBlock + key) * value_bytes, row + dim * value_bytes, static_cast<size_t>(value_bytes));
    }
  }
}

#if defined(CAUSEWAY_ISA_AVX512) || defined(CAUSEWAY_ISA_AVX2) || defined(CAUSEWAY_ISA_NEON)
// In each 128-bit lane, a square of values: vectors to columns, 8 by 8 of 16 bits or 4 by 4 of 32.
template <int kValueBytes>
inline void TransposeLanes(Wide (&v)[16 / kValueBytes]) {
  if constexpr (kValueBytes == 2) {
    const Wide a[8] = {Low16(v[0], v[1]),  Low16(v[2], v[3]),  Low16(v[4], v[5]),  Low16(v[6], v[7]),
                       High16(v[0], v[1]), High16(v[2], v[3]), High16(v[4], v[5]), High16(v[6], v[7])};
    for (int half = 0; half < 2; ++half) {
      const Wide* const s = a + 4 * half;
      const Wide b[4] = {Low32(s[0], s[1]), Low32(s[2], s[3]), High32(s[0], s[1]), High32(s[2], s[3])};
      v[4 * half + 0] = Low64(b[0], b[1]);
      v[4 * half + 1] = High64(b[0], b[1]);
      v[4 * half + 2] = Low64(b[2], b[3]);
      v[4 * half + 3] = High64(b[2], b[3]);
    }
  } else {
    const Wide b[4] = {Low32(v[0], v[1]), Low32(v[2], v[3]), High32(v[0], v[1]), High32(v[2], v[3])};
    v[0] = Low64(b[0], b[1]);
    v[1] = High64(b[0], b[1]);
    v[2] = Low64(b[2], b[3]);
    v[3] = High64(b[2], b[3]);
  }
}

// A tile: squares of rows and of dims beside each other, to columns `kColumn` values apart. `row(i)`: its i-th row's
// first dim.
template <int kValueBytes, int64_t kColumn, typename Row>
inline void TransposeTile(Row&& row, std::byte* to) {
  constexpr int kSquare = 16 / kValueBytes;  // rows and dims of a lane
  Wide v[kSquare];
#pragma GCC unroll 8
  for (int i = 0; i < kSquare; ++i) {
    v[i] = LoadRows(row(i), row(kSquare + i));
  }
  TransposeLanes<kValueBytes>(v);
#pragma GCC unroll 8
  for (int i = 0; i < kSquare; ++i) {
    StoreColumns(to + i * kColumn * kValueBytes, kSquare * kColumn * kValueBytes, v[i]);
  }
}

// Rows [0, count), and behind them up to a whole tile. `pause` is called between tiles. A tile takes 16 or 32 bytes of
// two squares of rows: of more rows, a line's parts would not stay in the cache until it is used up, for rows lie at
// round distances.
template <int kValueBytes, typename Pause>
inline void TransposeKeys(const RowRuns& rows, int64_t count, int64_t head_dim, std::byte* out, Pause&& pause) {
  constexpr int kSquare = 16 / kValueBytes;
  constexpr int64_t kTileRows = kSquare * kRowSquares;
  constexpr int64_t kTileDims = kSquare * kDimSquares;
  for (int64_t key = 0; key < count; key += kTileRows) {
    const std::byte* const from = rows.At(key);
    std::byte* const to = out + key * kValueBytes;
    if (head_dim < kTileDims) {
      TransposeValues(rows, key, key + kTileRows, 0, head_dim, kValueBytes, out);
      continue;
    }
    for (int64_t next = 0; next < head_dim; next += kTileDims) {
      const int64_t dim = std::min(next, head_dim - kTileDims);  // the last one may do a few dims again
      const std::byte* const tile = from + dim * kValueBytes;
      TransposeTile<kValueBytes, kBlock>([&](int row) { return tile + row * rows.row_bytes; },
                                         to + dim * kBlock * kValueBytes);
      pause();
    }
  }
}
#else
template <int kValueBytes, typename Pause>
inline void TransposeKeys(const RowRuns& rows, int64_t count, int64_t head_dim, std::byte* out, Pause&& pause) {
  TransposeValues(rows, 0, (count + kKvRun - 1) / kKvRun * kKvRun, 0, head_dim, kValueBytes, out);
  pause();
}
#endif

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
