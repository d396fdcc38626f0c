// How fast a kernel reads all layers of a sequence, tensor by tensor, in each layout of mapped pages, against one
// allocation of as many bytes.
#include <cstring>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/rng.h"
#include "kernels/cuda/buffer.h"
#include "kernels/cuda/smxx_scan.h"
#include "memory/kv_layout.h"
#include "server/cli/bench_kv/figures.h"

namespace causeway::server::bench_kv {
namespace {

using kernels::cuda::DeviceFloats;
using kernels::cuda::RowScan;
using kernels::cuda::RowScanArgs;
using memory::KvGeometry;

constexpr int64_t kRounds = 20;  // of one scan, which takes less than a millisecond

// A page in which every row is the same, wherever a layout has its rows: random bytes, for what is all zeros may be
// read quicker than what is not.
std::vector<std::byte> PageOfRows(const KvGeometry& geometry) {
  std::vector<std::byte> page(static_cast<size_t>(geometry.page_bytes));
  for (size_t at = 0; at < page.size(); ++at) {
    page[at] = static_cast<std::byte>(RandomBits(2026, 77, at % static_cast<size_t>(geometry.row_bytes)));
  }
  return page;
}

uint64_t SumOfRow(std::span<const std::byte> page, int64_t row_bytes) {
  uint64_t sum = 0;
  for (int64_t at = 0; at < row_bytes; at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, page.data() + at, sizeof word);
    sum += word;
  }
  return sum;
}

Result<DeviceFloats> OneAllocation(std::span<const std::byte> row, int64_t rows) {
  std::vector<float> values(row.size() / sizeof(float) * static_cast<size_t>(rows));
  auto* const bytes = reinterpret_cast<std::byte*>(values.data());
  for (size_t i = 0; i < static_cast<size_t>(rows); ++i) {
    std::memcpy(bytes + i * row.size(), row.data(), row.size());
  }
  return DeviceFloats::From(values);
}

template <memory::KvLayoutPolicy L>
RowScanArgs RowsOf(const std::byte* base, const KvGeometry& geometry, int64_t tokens) {
  const memory::KvRows first = L::Rows(geometry, tokens, 0);
  return {.base = base + first.k_offset,
          .tensors = 2 * geometry.shape.layers,
          .tensor_stride = first.v_offset - first.k_offset,  // and from V to the next layer's K
          .tokens = tokens,
          .tokens_per_page = first.tokens_per_page,
          .page_bytes = first.page_bytes,
          .row_stride = first.row_stride,
          .row_bytes = geometry.row_bytes};
}

RowScanArgs ContiguousRows(const std::byte* base, const KvGeometry& geometry, int64_t tokens) {
  return {.base = base,
          .tensors = 2 * geometry.shape.layers,
          .tensor_stride = tokens * geometry.row_bytes,
          .tokens = tokens,
          .tokens_per_page = tokens,
          .row_stride = geometry.row_bytes,
          .row_bytes = geometry.row_bytes};
}

// The sum tells whether it has read every row once.
Result<double> Microseconds(RowScan& scan, const RowScanArgs& args, uint64_t sum_of_row) {
  TRY(scan.Begin(args));
  ASSIGN_OR_RETURN(const RowScan::Sum sum, scan.End());
  CHECK(sum.value == sum_of_row * static_cast<uint64_t>(args.tensors * args.tokens));
  return sum.microseconds;
}

}  // namespace

Result<void> MeasureDeviceScan(const KvGeometry& geometry, const Sizes& sizes, Figures& figures) {
  const int64_t tokens = sizes.fork_tokens;
  const auto page = PageOfRows(geometry);
  const uint64_t sum_of_row = SumOfRow(page, geometry.row_bytes);
  const int64_t bytes = tokens * geometry.BytesPerToken();
  const auto row = std::span<const std::byte>(page).first(static_cast<size_t>(geometry.row_bytes));
  ASSIGN_OR_RETURN(const DeviceFloats contiguous, OneAllocation(row, bytes / geometry.row_bytes));
  const auto* const base = reinterpret_cast<const std::byte*>(contiguous.data());
  const RowScanArgs contiguous_rows = ContiguousRows(base, geometry, tokens);
  ASSIGN_OR_RETURN(const auto scan, kernels::cuda::MakeRowScan());
  std::vector<double> speeds;
  const auto measure = [&]<memory::KvLayoutPolicy L>(L) -> Result<void> {
    ASSIGN_OR_RETURN(const MappedPages layout, MapPages(Vm::kCuda, memory::MappedPages<L>(geometry, tokens), page));
    const RowScanArgs rows = RowsOf<L>(layout.base, geometry, tokens);
    std::vector<double> ratios;
    for (int64_t round = 0; round <= kRounds; ++round) {
      ASSIGN_OR_RETURN(const double whole, Microseconds(*scan, contiguous_rows, sum_of_row));
      ASSIGN_OR_RETURN(const double in_pages, Microseconds(*scan, rows, sum_of_row));
      if (round > 0) {
        ratios.push_back(whole / in_pages);
        speeds.push_back(static_cast<double>(bytes) / whole * 1e-3);
      }
    }
    figures.Set("scan_ratio_" + std::string(L::kName), std::move(ratios));
    return {};
  };
  Result<void> done;
  memory::ForEachLayout([&](auto layout) {
    if (done.ok()) {
      done = measure(layout);
    }
  });
  TRY(std::move(done));
  figures.Set("scan_contiguous_gb_s", std::move(speeds));
  return {};
}

}  // namespace causeway::server::bench_kv
