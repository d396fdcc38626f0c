// What a backend's calls cost for a page: vm_bench [PAGE_KIB...] (default 64 384 2048). Prints the median of several
// rounds, in microseconds a page; for multiples of 2 MiB also with huge pages, where this machine has them, and in the
// memory of its CUDA device.
// memory/README.md has the figures of one machine.
#include <algorithm>
#include <charconv>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/check.h"
#include "base/clock.h"
#include "memory/vm/cuda_backend.h"
#include "memory/vm/vm_backend.h"

namespace causeway::memory {
namespace {

constexpr int64_t kBytes = int64_t{256} << 20;  // of a round
constexpr int kRounds = 5;

double Microseconds(Instant since, int64_t pages) {
  return ToSeconds(Clock::now() - since) * 1e6 / static_cast<double>(pages);
}

// One column each: its name, and a value per round.
struct Column {
  const char* name;
  std::vector<double> values;
};

class Round {
 public:
  Round(const VmOptions& options, VmBackend& backend, std::vector<Column>& columns)
      : options_(options), backend_(backend), columns_(columns), arena_(backend.ReserveArena(2 * kBytes).value()) {
    for (int64_t i = 0; i < options_.max_pages; ++i) {
      ids_.push_back(static_cast<PageId>(i));
    }
  }

  void Run() {
    const int64_t pages = options_.max_pages;
    std::byte* const elsewhere = arena_ + kBytes;
    std::vector<std::byte> buffer(static_cast<size_t>(options_.page_bytes), std::byte{1});
    Each("create", [&](PageId page) { CHECK(backend_.Create(page).ok()); });
    bool improved = true;
    Time("improve", [&] {
      for (int64_t i = 0; i < pages; i += kBatch) {
        improved = backend_.ImproveRun(static_cast<PageId>(i), std::min(kBatch, pages - i)) && improved;
      }
    });
    const bool hosts = backend_.name() == "linux";
    CHECK(improved == (hosts && options_.huge_pages != HugePages::kNever));
    Time("map run", [&] { CHECK(backend_.Map(arena_, ids_, true).ok()); });
    Time("touch", [&] {
      for (int64_t at = 0; hosts && at < kBytes / options_.page_bytes * options_.page_bytes; at += 4096) {
        arena_[at] = std::byte{1};
      }
    });
    // Backwards: no two are neighbours, each is a mapping of its own.
    Each("alias", [&](PageId page) {
      CHECK(backend_.Map(Place(elsewhere, pages - 1 - page), {&page, 1}, false).ok());
    });
    Each("unmap", [&](PageId page) { CHECK(backend_.Unmap(Place(elsewhere, page), 1).ok()); });
    Each("copy",
         [&](PageId page) { CHECK(backend_.Copy(Place(arena_, page), Place(arena_, (page + 1) % pages)).ok()); });
    Each("read", [&](PageId page) { CHECK(backend_.ReadPage(page, buffer).ok()); });
    Each("write", [&](PageId page) { CHECK(backend_.WritePage(page, buffer).ok()); });
    CHECK(backend_.Unmap(arena_, pages).ok());
    Each("release", [&](PageId page) { CHECK(backend_.Release(page).ok()); });
  }

 private:
  static constexpr int64_t kBatch = 8;  // pages that are improved at once

  std::byte* Place(std::byte* base, int64_t page) const { return base + page * options_.page_bytes; }
  template <typename Work>
  void Time(const char* name, const Work& work) {
    const Instant start = Clock::now();
    work();
    const double cost = Microseconds(start, options_.max_pages);
    if (next_ == columns_.size()) {
      columns_.push_back({name, {}});
    }
    columns_[next_++].values.push_back(cost);
  }
  template <typename Work>
  void Each(const char* name, const Work& work) {
    Time(name, [&] { std::for_each(ids_.begin(), ids_.end(), work); });
  }

  const VmOptions options_;
  VmBackend& backend_;
  std::vector<Column>& columns_;
  size_t next_ = 0;
  std::byte* const arena_;
  std::vector<PageId> ids_;
};

double Median(std::vector<double>& values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

Result<std::unique_ptr<VmBackend>> MakeDeviceBackend(const VmOptions& options) {
  ASSIGN_OR_RETURN(auto driver, LoadCudaDriver(0));
  ASSIGN_OR_RETURN(auto backend, MakeCudaBackend(options, std::move(driver)));
  return std::unique_ptr<VmBackend>(std::move(backend));
}

// `make`: a backend of the options.
template <typename Make>
void Measure(int64_t page_kib, HugePages kind, std::string_view label, const Make& make) {
  const VmOptions options{.page_bytes = page_kib << 10, .max_pages = kBytes / (page_kib << 10), .huge_pages = kind};
  std::vector<Column> columns;
  for (int i = 0; i < kRounds; ++i) {
    Result<std::unique_ptr<VmBackend>> backend = make(options);
    if (!backend.ok()) {
      fmt::print("{:>6} {:<10} {}\n", page_kib, label, backend.error().message);
      return;
    }
    Round(options, **backend, columns).Run();
  }
  static bool headed = false;
  if (!headed) {
    fmt::print("{:>6} {:<10}", "KiB", "memory");
    for (const Column& column : columns) {
      fmt::print(" {:>8}", column.name);
    }
    fmt::print("   us a page\n");
    headed = true;
  }
  fmt::print("{:>6} {:<10}", page_kib, label);
  for (Column& column : columns) {
    fmt::print(" {:>8.1f}", Median(column.values));
  }
  fmt::print("\n");
}

void MeasureAll(int64_t page_kib) {
  Measure(page_kib, HugePages::kNever, "4 KiB", MakeLinuxBackend);
  if (page_kib % 2048 == 0) {
    Measure(page_kib, HugePages::kCollapse, "collapsed", MakeLinuxBackend);
    Measure(page_kib, HugePages::kHugetlb, "hugetlb", MakeLinuxBackend);
    Measure(page_kib, HugePages::kAuto, "cuda", MakeDeviceBackend);
  }
}

}  // namespace
}  // namespace causeway::memory

int main(int argc, char** argv) {
  if (argc == 1) {
    for (const int64_t page_kib : {64, 384, 2048}) {
      causeway::memory::MeasureAll(page_kib);
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
    causeway::memory::MeasureAll(page_kib);
  }
  return 0;
}
