// How fast one thread reads all layers of a sequence, layer by layer as a decode step does, in each layout, against one
// contiguous buffer of as many bytes on pages of the same kind.
#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "base/check.h"
#include "memory/kv_layout.h"
#include "server/cli/bench_kv/figures.h"

namespace causeway::server::bench_kv {
namespace {

using memory::KvGeometry;

// Mapped pages in ascending order, as a fresh pool gives them.
struct Memory {
  std::unique_ptr<memory::VmBackend> backend;
  std::byte* base = nullptr;
};

Result<Memory> MapPages(int64_t page_bytes, int64_t pages) {
  Memory memory;
  ASSIGN_OR_RETURN(memory.backend, MakePages(page_bytes, pages));
  ASSIGN_OR_RETURN(memory.base, memory.backend->ReserveArena(pages * page_bytes));
  std::vector<memory::PageId> ids(static_cast<size_t>(pages));
  std::iota(ids.begin(), ids.end(), memory::PageId{0});
  TRY(memory.backend->Map(memory.base, ids, true));
  return memory;
}

// Reads `bytes`, a multiple of 8, and returns their sum so that nobody can leave the reading out.
uint64_t Read(const std::byte* from, int64_t bytes) {
  const auto* const words = reinterpret_cast<const uint64_t*>(from);
  const int64_t count = bytes / 8;
  uint64_t sums[8] = {};
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    for (int64_t j = 0; j < 8; ++j) {
      sums[j] += words[i + j];
    }
  }
  for (; i < count; ++i) {
    sums[0] += words[i];
  }
  return std::accumulate(std::begin(sums), std::end(sums), uint64_t{0});
}

// Rows [0, tokens) of one tensor; rows that lie behind each other are read in one go.
uint64_t ReadRows(const std::byte* base, const memory::KvRows& rows, bool values, int64_t row_bytes, int64_t tokens) {
  uint64_t sum = 0;
  const bool dense = rows.row_stride == row_bytes;
  for (int64_t t = 0; t < tokens;) {
    const int64_t run = dense ? std::min(tokens - t, rows.tokens_per_page - t % rows.tokens_per_page) : 1;
    sum += Read(base + (values ? rows.VAt(t) : rows.KAt(t)), run * row_bytes);
    t += run;
  }
  return sum;
}

template <memory::KvLayoutPolicy L>
Result<void> MeasureLayout(const KvGeometry& geometry, const Sizes& sizes, Figures& figures) {
  const int64_t tokens = sizes.fork_tokens;
  const int64_t bytes = tokens * geometry.BytesPerToken();
  const int64_t contiguous_pages = (bytes + geometry.page_bytes - 1) / geometry.page_bytes;
  ASSIGN_OR_RETURN(const Memory contiguous, MapPages(geometry.page_bytes, contiguous_pages));
  ASSIGN_OR_RETURN(const Memory layout, MapPages(geometry.page_bytes, memory::MappedPages<L>(geometry, tokens)));
  std::vector<double> ratios;
  uint64_t sum = 0;
  for (int64_t round = 0; round <= sizes.rounds; ++round) {
    Instant start = Clock::now();
    sum += Read(contiguous.base, bytes);
    const double whole = MicrosecondsSince(start);
    start = Clock::now();
    for (int64_t layer = 0; layer < geometry.shape.layers; ++layer) {
      const memory::KvRows rows = L::Rows(geometry, tokens, layer);
      sum += ReadRows(layout.base, rows, false, geometry.row_bytes, tokens);
      sum += ReadRows(layout.base, rows, true, geometry.row_bytes, tokens);
    }
    if (round > 0) {  // the first one fills page tables and caches
      ratios.push_back(whole / MicrosecondsSince(start));
    }
  }
  CHECK(sum == 0);  // nobody has written to the pages
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
