// What the system takes for one page: the calls that everything else is made of.
#include <vector>

#include "server/cli/bench_kv/figures.h"

namespace causeway::server::bench_kv {
namespace {

constexpr int64_t kPages = 64;
constexpr int kRounds = 8;

// Every second page, so that no call finds a neighbour to merge with.
std::vector<memory::PageId> Scattered() {
  std::vector<memory::PageId> ids;
  for (int64_t i = 0; i < kPages; i += 2) {
    ids.push_back(static_cast<memory::PageId>(i));
  }
  return ids;
}

}  // namespace

Result<void> MeasurePages(const memory::KvGeometry& geometry, Figures& figures) {
  const int64_t bytes = geometry.page_bytes;
  ASSIGN_OR_RETURN(const auto backend, MakePages(bytes, kPages));
  ASSIGN_OR_RETURN(std::byte* const arena, backend->ReserveArena(2 * kPages * bytes));
  std::byte* const aliases = arena + kPages * bytes;
  std::vector<double> map, unmap, alias, copy;
  const auto timed = [](std::vector<double>& samples, auto&& call) {
    const Instant start = Clock::now();
    auto done = call();
    samples.push_back(MicrosecondsSince(start));
    return done;
  };
  const auto ids = Scattered();
  for (int round = 0; round < kRounds; ++round) {
    for (const memory::PageId& id : ids) {
      TRY(timed(map, [&] { return backend->Map(arena + id * bytes, {&id, 1}, true); }));
      TRY(timed(alias, [&] { return backend->Map(aliases + id * bytes, {&id, 1}, false); }));
    }
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      TRY(timed(copy, [&] { return backend->Copy(arena + ids[i + 1] * bytes, arena + ids[i] * bytes); }));
    }
    for (const memory::PageId id : ids) {
      TRY(timed(unmap, [&] { return backend->Unmap(aliases + id * bytes, 1); }));
      TRY(backend->Unmap(arena + id * bytes, 1));
    }
  }
  figures.Set("map_page_us", std::move(map));
  figures.Set("alias_page_us", std::move(alias));
  figures.Set("copy_page_us", std::move(copy));
  figures.Set("unmap_page_us", std::move(unmap));
  return {};
}

}  // namespace causeway::server::bench_kv
