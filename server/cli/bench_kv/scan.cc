// How fast one thread reads all layers of a sequence, layer by layer as a decode step does, in each layout, against one
// contiguous buffer of as many bytes on pages of the same kind.
#include <algorithm>
#include <numeric>
#include <string>
#include <type_traits>
#include <utility>

#include "base/check.h"
#include "memory/kv_layout.h"
#include "server/cli/bench_kv/figures.h"

namespace causeway::server::bench_kv {
namespace {

using memory::KvGeometry;

constexpr int64_t kAheadBytes = 64 << 10;  // asked for before they are read, on whatever pages they lie
constexpr int64_t kCacheLine = 64;

// Where the rows of a sequence lie in the order of a decode step: layer by layer, K before V, positions ascending.
template <memory::KvLayoutPolicy L>
std::vector<const std::byte*> RowsOf(const std::byte* base, const KvGeometry& geometry, int64_t tokens) {
  std::vector<const std::byte*> rows;
  for (int64_t layer = 0; layer < geometry.shape.layers; ++layer) {
    const memory::KvRows where = L::Rows(geometry, tokens, layer);
    for (int64_t t = 0; t < tokens; ++t) {
      rows.push_back(base + where.KAt(t));
    }
    for (int64_t t = 0; t < tokens; ++t) {
      rows.push_back(base + where.VAt(t));
    }
  }
  return rows;
}

// Reads the rows in order and returns their sum, so that nobody can leave the reading out. Rows are asked for some way
// ahead, as a kernel that knows the layout can do.
uint64_t Read(std::span<const std::byte* const> rows, int64_t row_bytes) {
  const auto ahead = static_cast<size_t>(std::max<int64_t>(1, kAheadBytes / row_bytes));
  const int64_t words = row_bytes / static_cast<int64_t>(sizeof(uint64_t));
  uint64_t sums[8] = {};
  for (size_t row = 0; row < rows.size(); ++row) {
    const std::byte* const next = rows[std::min(row + ahead, rows.size() - 1)];
    for (int64_t at = 0; at < row_bytes; at += kCacheLine) {
      __builtin_prefetch(next + at);
    }
    const auto* const values = reinterpret_cast<const uint64_t*>(rows[row]);
    int64_t i = 0;
    for (; i + 8 <= words; i += 8) {
      for (int64_t j = 0; j < 8; ++j) {
        sums[j] += values[i + j];
      }
    }
    for (; i < words; ++i) {
      sums[0] += values[i];
    }
  }
  return std::accumulate(std::begin(sums), std::end(sums), uint64_t{0});
}

// One buffer with as many rows behind each other.
std::vector<const std::byte*> ContiguousRows(const std::byte* base, const KvGeometry& geometry, int64_t tokens) {
  std::vector<const std::byte*> rows(static_cast<size_t>(2 * geometry.shape.layers * tokens));
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i] = base + static_cast<int64_t>(i) * geometry.row_bytes;
  }
  return rows;
}

template <memory::KvLayoutPolicy L>
Result<void> MeasureLayout(const KvGeometry& geometry, const Sizes& sizes, Figures& figures) {
  const int64_t tokens = sizes.fork_tokens;
  const int64_t bytes = tokens * geometry.BytesPerToken();
  const std::vector<std::byte> zeros(static_cast<size_t>(geometry.page_bytes));
  ASSIGN_OR_RETURN(const MappedPages contiguous,
                   MapPages(Vm::kLinux, (bytes + geometry.page_bytes - 1) / geometry.page_bytes, zeros));
  ASSIGN_OR_RETURN(const MappedPages layout, MapPages(Vm::kLinux, memory::MappedPages<L>(geometry, tokens), zeros));
  const auto contiguous_rows = ContiguousRows(contiguous.base, geometry, tokens);
  const auto layout_rows = RowsOf<L>(layout.base, geometry, tokens);
  std::vector<double> ratios;
  std::vector<double> speeds;  // of the contiguous buffer
  uint64_t sum = 0;
  for (int64_t round = 0; round <= sizes.rounds; ++round) {
    Instant start = Clock::now();
    sum += Read(contiguous_rows, geometry.row_bytes);
    const double whole = MicrosecondsSince(start);
    start = Clock::now();
    sum += Read(layout_rows, geometry.row_bytes);
    if (round > 0) {  // the first one fills page tables and caches
      ratios.push_back(whole / MicrosecondsSince(start));
      speeds.push_back(static_cast<double>(bytes) / whole * 1e-3);
    }
  }
  CHECK(sum == 0);
  if constexpr (std::is_same_v<L, memory::KvLayout>) {
    figures.Set("scan_contiguous_gb_s", std::move(speeds));
  }
  figures.Set("scan_ratio_" + std::string(L::kName), std::move(ratios));
  return {};
}

}  // namespace

Result<void> MeasureScan(const KvGeometry& geometry, const Sizes& sizes, Figures& figures) {
  Result<void> done;
  memory::ForEachLayout([&](auto layout) {
    if (done.ok()) {
      done = MeasureLayout<decltype(layout)>(geometry, sizes, figures);
    }
  });
  return done;
}

}  // namespace causeway::server::bench_kv
