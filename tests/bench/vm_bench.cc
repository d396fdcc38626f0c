// What the Linux backend's calls cost for a page: vm_bench [PAGE_KIB...] (default 64 384 2048). Prints the median of
// several rounds, in microseconds a page. memory/README.md has the figures of one machine.
#include <algorithm>
#include <charconv>
#include <cstring>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "base/check.h"
#include "base/clock.h"
#include "memory/vm/vm_backend.h"

namespace causeway::memory {
namespace {

constexpr int64_t kBytes = int64_t{256} << 20;  // of a round
constexpr int kRounds = 5;

double Microseconds(Instant since, int64_t pages) {
  return ToSeconds(Clock::now() - since) * 1e6 / static_cast<double>(pages);
}

struct Costs {
  std::vector<double> create, map_run, map_single, touch, unmap, release;
};

void Round(int64_t page_bytes, Costs& costs) {
  const int64_t pages = kBytes / page_bytes;
  const auto backend = MakeLinuxBackend({page_bytes, pages}).value();
  std::byte* const arena = backend->ReserveArena(kBytes).value();
  std::vector<PageId> ids(static_cast<size_t>(pages));
  Instant start = Clock::now();
  for (int64_t i = 0; i < pages; ++i) {
    ids[static_cast<size_t>(i)] = static_cast<PageId>(i);
    CHECK(backend->Create(static_cast<PageId>(i)).ok());
  }
  costs.create.push_back(Microseconds(start, pages));
  start = Clock::now();
  CHECK(backend->Map(arena, ids, true).ok());
  costs.map_run.push_back(Microseconds(start, pages));
  start = Clock::now();
  for (int64_t offset = 0; offset < pages * page_bytes; offset += 4096) {
    arena[offset] = std::byte{1};
  }
  costs.touch.push_back(Microseconds(start, pages));
  start = Clock::now();
  CHECK(backend->Unmap(arena, pages).ok());
  costs.unmap.push_back(Microseconds(start, pages));
  std::reverse(ids.begin(), ids.end());  // no two are neighbours: each is a mapping of its own
  start = Clock::now();
  CHECK(backend->Map(arena, ids, true).ok());
  costs.map_single.push_back(Microseconds(start, pages));
  CHECK(backend->Unmap(arena, pages).ok());
  start = Clock::now();
  for (const PageId page : ids) {
    CHECK(backend->Release(page).ok());
  }
  costs.release.push_back(Microseconds(start, pages));
}

double Median(std::vector<double>& values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void Measure(int64_t page_kib) {
  Costs costs;
  for (int i = 0; i < kRounds; ++i) {
    Round(page_kib << 10, costs);
  }
  fmt::print("{:>8} {:>8.1f} {:>8.2f} {:>10.2f} {:>8.2f} {:>8.2f} {:>8.1f}\n", page_kib, Median(costs.create),
             Median(costs.map_run), Median(costs.map_single), Median(costs.touch), Median(costs.unmap),
             Median(costs.release));
}

}  // namespace
}  // namespace causeway::memory

int main(int argc, char** argv) {
  fmt::print("{:>8} {:>8} {:>8} {:>10} {:>8} {:>8} {:>8}   us a page\n", "KiB", "create", "map run", "map again",
             "touch", "unmap", "release");
  if (argc == 1) {
    for (const int64_t page_kib : {64, 384, 2048}) {
      causeway::memory::Measure(page_kib);
    }
  }
  for (int i = 1; i < argc; ++i) {
    int64_t page_kib = 0;
    const std::string_view text = argv[i];
    std::from_chars(text.data(), text.data() + text.size(), page_kib);
    if (page_kib < 4 || page_kib > 32768 || page_kib % 4 != 0) {
      fmt::print(stderr, "a page has 4 to 32768 KiB, a multiple of 4, not {}\n", text);
      return 2;
    }
    causeway::memory::Measure(page_kib);
  }
  return 0;
}
