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

template <typename Call>
Result<void> Timed(std::vector<double>& samples, const Call& call) {
  const Instant start = Clock::now();
  Result<void> done = call();
  samples.push_back(MicrosecondsSince(start));
  return done;
}

// Pages come and go; those that are made once and kept are what a server has.
Result<void> MeasureMaking(Vm vm, int64_t bytes, Figures& figures) {
  ASSIGN_OR_RETURN(const auto backend, MakeBackend(vm, bytes, kPages));
  std::vector<double> create, release;
  for (int round = 0; round < kRounds; ++round) {
    for (memory::PageId id = 0; id < kPages; ++id) {
      TRY(Timed(create, [&] { return backend->Create(id); }));
    }
    for (memory::PageId id = 0; id < kPages; ++id) {
      TRY(Timed(release, [&] { return backend->Release(id); }));
    }
  }
  figures.Set("create_page_us", std::move(create));
  figures.Set("release_page_us", std::move(release));
  return {};
}

}  // namespace

Result<void> MeasurePages(const memory::KvGeometry& geometry, const Sizes& sizes, Figures& figures) {
  const int64_t bytes = geometry.page_bytes;
  TRY(MeasureMaking(sizes.vm, bytes, figures));
  ASSIGN_OR_RETURN(const auto backend, MakePages(sizes.vm, bytes, kPages));
  ASSIGN_OR_RETURN(std::byte* const arena, backend->ReserveArena(2 * kPages * bytes));
  std::byte* const aliases = arena + kPages * bytes;
  std::vector<double> map, unmap, alias, copy, seal;
  const auto ids = Scattered();
  for (int round = 0; round < kRounds; ++round) {
    for (const memory::PageId& id : ids) {
      TRY(Timed(map, [&] { return backend->Map(arena + id * bytes, {&id, 1}, true); }));
      TRY(Timed(alias, [&] { return backend->Map(aliases + id * bytes, {&id, 1}, false); }));
    }
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      TRY(Timed(copy, [&] { return backend->Copy(arena + ids[i + 1] * bytes, arena + ids[i] * bytes); }));
    }
    for (const memory::PageId id : ids) {
      TRY(Timed(seal, [&] { return backend->Protect(arena + id * bytes, 1, false); }));
      TRY(Timed(unmap, [&] { return backend->Unmap(aliases + id * bytes, 1); }));
      TRY(backend->Unmap(arena + id * bytes, 1));
    }
  }
  figures.Set("map_page_us", std::move(map));
  figures.Set("alias_page_us", std::move(alias));
  figures.Set("copy_page_us", std::move(copy));
  figures.Set("unmap_page_us", std::move(unmap));
  figures.Set("seal_page_us", std::move(seal));
  return {};
}

}  // namespace causeway::server::bench_kv
