// What a CUDA device's calls cost: cuda_bench [PAGES] (default 256, of 2 MiB). First the driver's calls on physical and
// virtual memory, idle and beside a kernel that runs; then copies; then what later kernels are measured against.
// Medians of several rounds. memory/vm/README.md has the figures of one card.
#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "base/check.h"
#include "base/clock.h"
#include "kernels/cuda/buffer.h"
#include "kernels/cuda/smxx_scan.h"
#include "memory/vm/cuda_backend.h"

namespace causeway::memory {
namespace {

using kernels::cuda::DeviceFloats;
using kernels::cuda::PinnedBytes;
using kernels::cuda::RowScan;
using kernels::cuda::RowScanArgs;

constexpr size_t kPage = size_t{2} << 20;
constexpr int64_t kBigBytes = int64_t{1} << 30;
constexpr int kRounds = 9;
constexpr int kMinPages = 64;

double MicrosecondsSince(Instant start) { return ToSeconds(Clock::now() - start) * 1e6; }

// Calls `work` once to warm up, then kRounds times; the median in microseconds. `restore` undoes it, untimed.
template <typename Work, typename Restore>
double Median(const Work& work, const Restore& restore) {
  std::vector<double> samples;
  for (int round = 0; round <= kRounds; ++round) {
    const Instant start = Clock::now();
    work();
    samples.push_back(MicrosecondsSince(start));
    restore();
  }
  samples.erase(samples.begin());
  std::sort(samples.begin(), samples.end());
  return samples[samples.size() / 2];
}

void Print(std::string_view what, double microseconds, int64_t calls = 1) {
  fmt::print("{:<58}{:>12.1f} us", what, microseconds);
  calls > 1 ? fmt::print("{:>10.2f} us a page\n", microseconds / static_cast<double>(calls)) : fmt::print("\n");
}

CudaAddress AddressOf(const void* host) { return reinterpret_cast<CudaAddress>(host); }

// A pool of handles and a range that they are mapped in.
class Bench {
 public:
  Bench(CudaDriver& driver, int pages)
      : driver_(driver), pinned_(PinnedBytes::Allocate(kPage).value()), handles_(static_cast<size_t>(pages)) {
    Must(driver_.ReserveAddress(&base_, handles_.size() * kPage, kPage));
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;
  ~Bench() { driver_.FreeAddress(base_, handles_.size() * kPage); }

  void Reservations() {
    for (const int shift : {30, 36, 40, 43}) {
      CudaAddress address = 0;
      const size_t bytes = size_t{1} << shift;
      const double cost = Median([&] { Must(driver_.ReserveAddress(&address, bytes, kPage)); },
                                 [&] { Must(driver_.FreeAddress(address, bytes)); });
      Print(fmt::format("reserve {} GiB of addresses", bytes >> 30), cost);
    }
  }

  void Handles() {
    for (const bool exportable : {false, true}) {
      const double create = Median([&] { CreateAll(exportable); }, [&] { ReleaseAll(); });
      Print(fmt::format("create {} handles{}", handles_.size(), exportable ? ", exportable" : ""), create, count());
    }
    CreateAll(true);
    Print("release them", Median([&] { ReleaseAll(); }, [&] { CreateAll(true); }), count());
  }

  // Every call on runs of 1, 16, 64 pages. Handles() comes before.
  void Mappings(std::string_view when) {
    for (const int pages : {1, 16, 64}) {
      const auto name = [&](std::string_view call) { return fmt::format("{} {} pages, {}", call, pages, when); };
      Print(name("map, no access,"), Median([&] { MapRun(pages); }, [&] { UnmapRun(pages); }), pages);
      MapRun(pages);
      Print(name("set access of the range of"),
            Median([&] { Access(0, pages, CudaAccess::kReadWrite); }, [&] { Remap(pages); }), pages);
      Print(name("set access one by one of"), Median([&] { AccessEach(pages); }, [&] { Remap(pages); }), pages);
      Access(0, pages, CudaAccess::kReadWrite);
      if (pages > 1) {
        UnmapRun(pages);
        MapRun(pages);
        Print(name("set access from two threads of"), Median([&] { AccessOfHalves(pages); }, [&] { Remap(pages); }),
              pages);
        Access(0, pages, CudaAccess::kReadWrite);
      }
      Print(name("make read-only"),
            Median([&] { Access(0, pages, CudaAccess::kRead); }, [&] { Access(0, pages, CudaAccess::kReadWrite); }),
            pages);
      Print(name("unmap"),
            Median([&] { UnmapRun(pages); }, [&] { MapRun(pages), Access(0, pages, CudaAccess::kReadWrite); }), pages);
      UnmapRun(pages);
    }
  }

  // Handles() comes before.
  void PageCopies(std::string_view when) {
    std::vector<std::byte> host(kPage, std::byte{1});
    const CudaAddress plain = AddressOf(host.data());
    const CudaAddress fast = AddressOf(pinned_.bytes().data());
    const CudaAddress other = base_ + kPage;
    const auto print = [&](std::string_view what, CudaAddress to, CudaAddress from) {
      Print(fmt::format("{}, {}", what, when), Median([&] { Must(driver_.Copy(to, from, kPage)); }, [] {}));
    };
    MapRun(kMinPages);
    Access(0, kMinPages, CudaAccess::kReadWrite);
    Print(fmt::format("zero a page, {}", when), Median([&] { Must(driver_.Fill(base_, 0, kPage)); }, [] {}));
    Print(fmt::format("zero {} pages at once, {}", kMinPages, when),
          Median([&] { Must(driver_.Fill(base_, 0, kMinPages * kPage)); }, [] {}), kMinPages);
    print("copy a page to another", other, base_);
    print("read a page to the host", plain, base_);
    print("read a page to pinned memory of the host", fast, base_);
    print("write a page from the host", base_, plain);
    print("write a page from pinned memory of the host", base_, fast);
    UnmapRun(kMinPages);
  }

  // What access costs for memory of one handle, by its size; and where handles cannot leave the process.
  void HandleSizes() {
    for (const size_t mib : {2, 8, 32, 128}) {
      for (const bool exportable : {true, false}) {
        const size_t bytes = mib << 20;
        CudaHandle handle = 0;
        Must(driver_.CreateHandle(&handle, bytes, exportable));
        const auto map = [&] { Must(driver_.Map(base_, bytes, handle)); };
        const auto access = [&] { Must(driver_.SetAccess(base_, bytes, CudaAccess::kReadWrite)); };
        const auto unmap = [&] { Must(driver_.Unmap(base_, bytes)); };
        const auto name = [&](std::string_view call) {
          return fmt::format("{} a handle of {} MiB{}", call, mib, exportable ? "" : ", not exportable");
        };
        map();
        Print(name("set access of"), Median(access, [&] { unmap(), map(); }));
        access();
        Print(name("unmap"), Median(unmap, [&] { map(), access(); }));
        unmap();
        Must(driver_.ReleaseHandle(handle));
      }
    }
  }

  void Events() {
    CudaEvent event = nullptr;
    Must(driver_.CreateEvent(&event));
    Print("record an event and wait for it, idle",
          Median([&] { Must(driver_.RecordEvent(event, nullptr)), Must(driver_.SynchronizeEvent(event)); }, [] {}));
    Print("wait for an event that is past", Median([&] { Must(driver_.SynchronizeEvent(event)); }, [] {}));
    Must(driver_.DestroyEvent(event));
  }

  void End() { ReleaseAll(); }

 private:
  static void Must(CudaStatus status) { CHECK_MSG(status == kCudaSuccess, "CUDA error {}", status); }
  int64_t count() const { return std::ssize(handles_); }

  void CreateAll(bool exportable) {
    for (CudaHandle& handle : handles_) {
      Must(driver_.CreateHandle(&handle, kPage, exportable));
    }
  }
  void ReleaseAll() {
    for (const CudaHandle handle : handles_) {
      Must(driver_.ReleaseHandle(handle));
    }
  }
  void MapRun(int pages) {
    for (int i = 0; i < pages; ++i) {
      Must(driver_.Map(base_ + static_cast<size_t>(i) * kPage, kPage, handles_[static_cast<size_t>(i)]));
    }
  }
  void UnmapRun(int pages) { Must(driver_.Unmap(base_, static_cast<size_t>(pages) * kPage)); }
  void Remap(int pages) {
    UnmapRun(pages);
    MapRun(pages);
  }
  void Access(int first, int pages, CudaAccess access) {
    Must(driver_.SetAccess(base_ + static_cast<size_t>(first) * kPage, static_cast<size_t>(pages) * kPage, access));
  }
  // With a thread made for it, which takes some 20 us.
  void AccessOfHalves(int pages) {
    const int half = pages / 2;
    std::thread other([&] { Access(half, pages - half, CudaAccess::kReadWrite); });
    Access(0, half, CudaAccess::kReadWrite);
    other.join();
  }
  void AccessEach(int pages) {
    for (int i = 0; i < pages; ++i) {
      Access(i, 1, CudaAccess::kReadWrite);
    }
  }

  CudaDriver& driver_;
  const PinnedBytes pinned_;
  CudaAddress base_ = 0;
  std::vector<CudaHandle> handles_;
};

RowScanArgs AllOf(const DeviceFloats& memory, int64_t bytes, int64_t repeats = 1) {
  constexpr int64_t kRow = 2048;
  return {.base = reinterpret_cast<const std::byte*>(memory.data()),
          .tokens = bytes / kRow,
          .tokens_per_page = bytes / kRow,
          .row_stride = kRow,
          .row_bytes = kRow,
          .repeats = repeats};
}

// One kernel that runs about as long as asked.
class LongKernel {
 public:
  LongKernel(RowScan& scan, const DeviceFloats& memory, int64_t bytes) : scan_(scan), memory_(memory), bytes_(bytes) {
    CHECK(scan_.Begin(AllOf(memory_, bytes_, kProbe)).ok());
    microseconds_ = scan_.End().value().microseconds / kProbe;
  }
  void Begin(double milliseconds) {
    const auto repeats = static_cast<int64_t>(milliseconds * 1e3 / microseconds_);
    CHECK(scan_.Begin(AllOf(memory_, bytes_, std::max<int64_t>(1, repeats))).ok());
  }
  bool Running() { return scan_.Running().value(); }
  double End() { return scan_.End().value().microseconds; }

 private:
  static constexpr int64_t kProbe = 100;
  RowScan& scan_;
  const DeviceFloats& memory_;
  const int64_t bytes_;
  double microseconds_ = 0;  // of a repeat
};

// Who waits for the kernel takes as long as it does.
void BesideAKernel(Bench& bench, LongKernel& kernel) {
  constexpr double kMilliseconds = 4000;
  kernel.Begin(kMilliseconds);
  const Instant start = Clock::now();
  bench.Mappings("kernel");
  bench.PageCopies("kernel");
  const double took = MicrosecondsSince(start);
  const bool running = kernel.Running();
  fmt::print("all of these took {:.0f} ms beside a kernel of {:.0f} ms, which {}\n", took * 1e-3, kernel.End() * 1e-3,
             running ? "still ran then" : "HAD ENDED THEN: the figures are not of a running kernel");
}

void Yardsticks(CudaDriver& driver, RowScan& scan, const DeviceFloats& memory) {
  const auto gb_s = [](double bytes, double microseconds) { return bytes / microseconds * 1e-3; };
  std::vector<double> reads;
  for (int round = 0; round <= kRounds; ++round) {
    CHECK(scan.Begin(AllOf(memory, kBigBytes)).ok());
    reads.push_back(scan.End().value().microseconds);
  }
  std::sort(reads.begin(), reads.end());
  fmt::print("read {} MiB with a kernel: {:.0f} GB/s\n", kBigBytes >> 20, gb_s(kBigBytes, reads[reads.size() / 2]));
  const auto half = static_cast<size_t>(kBigBytes / 2);
  const CudaAddress device = AddressOf(memory.data());
  const PinnedBytes pinned = PinnedBytes::Allocate(kBigBytes / 2).value();
  const auto copy = [&](std::string_view what, CudaAddress to, CudaAddress from, double bytes) {
    const double cost = Median([&] { CHECK(driver.Copy(to, from, half) == kCudaSuccess); }, [] {});
    fmt::print("{}: {:.1f} GB/s\n", what, gb_s(bytes, cost));
  };
  copy("copy 512 MiB on the device, bytes read and written", device + half, device, static_cast<double>(kBigBytes));
  copy("copy 512 MiB to pinned memory of the host", AddressOf(pinned.bytes().data()), device,
       static_cast<double>(half));
  copy("copy 512 MiB from pinned memory of the host", device, AddressOf(pinned.bytes().data()),
       static_cast<double>(half));
  const RowScanArgs tiny = AllOf(memory, 2048);
  Print("launch a kernel that reads 2 KiB and wait for its sum",
        Median([&] { CHECK(scan.Begin(tiny).ok() && scan.End().ok()); }, [] {}));
  Print("launch it", Median([&] { CHECK(scan.Begin(tiny).ok()); }, [&] { CHECK(scan.End().ok()); }));
  CHECK(scan.Begin(tiny).ok());
  Print("run it, by the device's clock", scan.End().value().microseconds);
}

int Run(int pages) {
  auto driver = LoadCudaDriver(0);
  if (!driver.ok()) {
    fmt::print(stderr, "{}\n", driver.error().message);
    return 1;
  }
  fmt::print("{}\n", (*driver)->DeviceName());
  const auto scan = kernels::cuda::MakeRowScan().value();
  const DeviceFloats memory = DeviceFloats::From(std::vector<float>(kBigBytes / sizeof(float), 1.5F)).value();
  LongKernel kernel(*scan, memory, kBigBytes / 64);  // two blocks a multiprocessor: there is room beside it
  Bench bench(**driver, pages);
  bench.Reservations();
  bench.Events();
  bench.HandleSizes();
  bench.Handles();
  bench.Mappings("idle");
  bench.PageCopies("idle");
  BesideAKernel(bench, kernel);
  bench.End();
  Yardsticks(**driver, *scan, memory);
  return 0;
}

}  // namespace
}  // namespace causeway::memory

int main(int argc, char** argv) {
  int pages = 256;
  if (argc > 1) {
    const std::string_view text = argv[1];
    std::from_chars(text.data(), text.data() + text.size(), pages);
    if (pages < causeway::memory::kMinPages || pages > 1 << 14) {
      fmt::print(stderr, "{} to 16384 pages, not {}\n", causeway::memory::kMinPages, text);
      return 2;
    }
  }
  return causeway::memory::Run(pages);
}
