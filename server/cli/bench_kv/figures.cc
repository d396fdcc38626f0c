#include "server/cli/bench_kv/figures.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/rng.h"
#include "memory/vm/cuda_backend.h"
#include "server/cli/bench_serve/stats.h"

namespace causeway::server::bench_kv {
namespace {

constexpr FigureSpec kFigures[] = {
    {"alloc_free_16_pages_us", "16 pages taken from the cache and given back", Goal::kBelow, 32},
    {"prefix_lookup_50k_ms", "prefix of 50,000 tokens found, tokens compared", Goal::kBelow, 1},
    {"prefix_hash_50k_ms", "its keys computed"},
    {"fork_8k_us", "fork of a sequence of 8K tokens, one page copied"},
    {"copy_8k_us", "full copy of the same"},
    {"idle_pinned_ratio", "memory held when idle over what the known prefixes fill", Goal::kAtMost, 1.005},
    {"waste_pages_per_sequence", "pages that a sequence has beyond its tokens", Goal::kBelow, 1},
    {"map_calls_per_decode_step", "calls to the system in steady decode", Goal::kAtMost, 0},
    {"scan_contiguous_gb_s", "one contiguous buffer read, 10^9 bytes a second"},
    {"scan_ratio_slab", "scan speed, slab over one contiguous buffer", Goal::kAtLeast, 0.9},
    {"scan_ratio_per_layer", "likewise, a tensor a layer"},
    {"scan_ratio_sliced", "likewise, token by token"},
    {"ttft_4k_cold_ms", "first token behind a prompt of 4K tokens"},
    {"ttft_4k_warm_ms", "likewise, the prompt being known"},
    {"create_page_us", "a page made, zeroed"},
    {"release_page_us", "a page given back to the system"},
    {"map_page_us", "a page mapped"},
    {"unmap_page_us", "a page unmapped"},
    {"alias_page_us", "a page mapped once more"},
    {"copy_page_us", "a page copied"},
    {"seal_page_us", "a mapped page made read-only"},
};

const FigureSpec* Find(std::string_view key) {
  return std::find_if(std::begin(kFigures), std::end(kFigures),
                      [&](const FigureSpec& spec) { return spec.key == key; });
}

bool IsMet(const FigureSpec& spec, double value) {
  switch (spec.goal) {
    case Goal::kBelow: return value < spec.bound;
    case Goal::kAtMost: return value <= spec.bound;
    case Goal::kAtLeast: return value >= spec.bound;
    case Goal::kNone: break;
  }
  return true;
}

std::string GoalText(const FigureSpec& spec, double value) {
  if (spec.goal == Goal::kNone) {
    return {};
  }
  const std::string_view sign = spec.goal == Goal::kBelow ? "<" : spec.goal == Goal::kAtMost ? "<=" : ">=";
  return fmt::format("{} {}{}", sign, spec.bound, IsMet(spec, value) ? "" : ", missed");
}

}  // namespace

std::span<const FigureSpec> AllFigures() { return kFigures; }

void Figures::Set(std::string_view key, std::vector<double> samples) {
  const FigureSpec* const spec = Find(key);
  CHECK(spec != std::end(kFigures) && !samples.empty());
  std::sort(samples.begin(), samples.end());
  const bool is_new =
      values_.emplace(spec->key, Distribution{bench::Quantile(samples, 0.5), bench::Quantile(samples, 0.99)}).second;
  CHECK(is_new);
}

std::optional<Distribution> Figures::Of(std::string_view key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? std::nullopt : std::optional(found->second);
}

// Nothing where one of the two was not measured.
std::string Figures::RatioLine(std::string_view what, std::string_view slow, std::string_view quick,
                               double goal) const {
  const auto most = Of(slow);
  const auto least = Of(quick);
  if (!most || !least) {
    return {};
  }
  const double ratio = most->p50 / least->p50;
  return fmt::format("{}: {:.1f} times (goal {:.0f}{})\n", what, ratio, goal, ratio >= goal ? "" : ", missed");
}

OrderedJson Figures::Json() const {
  OrderedJson json = OrderedJson::object();
  for (const FigureSpec& spec : kFigures) {
    if (const auto value = Of(spec.key)) {
      json[std::string(spec.key)] = {{"p50", value->p50}, {"p99", value->p99}};
    }
  }
  return json;
}

std::string Figures::Table() const {
  std::string text = fmt::format("{:<26}{:>12}{:>12}  {:<16}{}\n", "", "p50", "p99", "goal", "");
  for (const FigureSpec& spec : kFigures) {
    if (const auto value = Of(spec.key)) {
      text += fmt::format("{:<26}{:>12.3f}{:>12.3f}  {:<16}{}\n", spec.key, value->p50, value->p99,
                          GoalText(spec, value->p50), spec.what);
    }
  }
  text += RatioLine("a fork is quicker than a copy", "copy_8k_us", "fork_8k_us", 10);
  text += RatioLine("a known prompt is quicker", "ttft_4k_cold_ms", "ttft_4k_warm_ms", 20);
  return text;
}

std::vector<Token> RandomTokens(uint64_t stream, int64_t count, int64_t vocab) {
  std::vector<Token> tokens(static_cast<size_t>(count));
  for (size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = static_cast<Token>(RandomBits(2026, stream, i) % static_cast<uint64_t>(vocab));
  }
  return tokens;
}

Result<int64_t> GranularityOf(Vm vm) {
  if (vm == Vm::kLinux) {
    return 4096;
  }
  ASSIGN_OR_RETURN(const auto driver, memory::LoadCudaDriver(0));
  size_t bytes = 0;
  if (const memory::CudaStatus status = driver->Granularity(&bytes); status != memory::kCudaSuccess) {
    return MakeError(ErrorCode::kFailedPrecondition, "cuMemGetAllocationGranularity: " + driver->StatusName(status));
  }
  return static_cast<int64_t>(bytes);
}

Result<std::unique_ptr<memory::VmBackend>> MakeBackend(Vm vm, int64_t page_bytes, int64_t pages) {
  if (vm == Vm::kLinux) {
    return memory::MakeLinuxBackend({page_bytes, pages});
  }
  ASSIGN_OR_RETURN(auto driver, memory::LoadCudaDriver(0));
  ASSIGN_OR_RETURN(auto backend, memory::MakeCudaBackend({page_bytes, pages}, std::move(driver)));
  return std::unique_ptr<memory::VmBackend>(std::move(backend));
}

Result<std::unique_ptr<memory::VmBackend>> MakePages(Vm vm, int64_t page_bytes, int64_t pages) {
  ASSIGN_OR_RETURN(auto backend, MakeBackend(vm, page_bytes, pages));
  for (int64_t page = 0; page < pages; ++page) {
    TRY(backend->Create(static_cast<memory::PageId>(page)));
    backend->Improve(static_cast<memory::PageId>(page));
  }
  return backend;
}

Result<MappedPages> MapPages(Vm vm, int64_t pages, std::span<const std::byte> bytes) {
  const auto page_bytes = static_cast<int64_t>(bytes.size());
  MappedPages mapped;
  ASSIGN_OR_RETURN(mapped.backend, MakePages(vm, page_bytes, pages));
  ASSIGN_OR_RETURN(mapped.base, mapped.backend->ReserveArena(pages * page_bytes));
  std::vector<memory::PageId> ids(static_cast<size_t>(pages));
  std::iota(ids.begin(), ids.end(), memory::PageId{0});
  for (const memory::PageId id : ids) {
    TRY(mapped.backend->WritePage(id, bytes));
  }
  TRY(mapped.backend->Map(mapped.base, ids, true));
  return mapped;
}

int64_t PeakBytes(const memory::KvGeometry& geometry, const Sizes& sizes) {
  // A sequence and its copy; forks and bookkeeping beside them.
  const int64_t spans = (2 * geometry.PagesFor(sizes.fork_tokens) + 64) * geometry.page_bytes;
  return std::max(spans, sizes.pool_bytes) + (int64_t{256} << 20);
}

}  // namespace causeway::server::bench_kv
