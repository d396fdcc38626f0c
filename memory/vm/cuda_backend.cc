// One handle a page, all of one size and mapped whole, for some devices reject parts. Making one costs twice a map, so
// handles are kept. Setting access is nearly all of a map: each mapping costs the same, whatever its size and however
// many one call names.
//
// Beside the arena there is a window, in which every page that exists is mapped for good at window + page * page_bytes:
// the copies by page id go there, without a mapping made for each and without asking where else the page is. The
// driver shows what is written through one mapping in all others once the kernel or copy that wrote has ended.
#include "memory/vm/cuda_backend.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/check.h"

namespace causeway::memory {
namespace {

constexpr int64_t kMaxPoolBytes = int64_t{1} << 46;

CudaAddress ToDevice(const std::byte* address) { return reinterpret_cast<CudaAddress>(address); }

Result<void> Check(const CudaDriver& driver, CudaStatus status, std::string_view call) {
  if (status == kCudaSuccess) {
    return {};
  }
  return MakeError(status == kCudaOutOfMemory ? ErrorCode::kResourceExhausted : ErrorCode::kInternal,
                   fmt::format("{}: {}", call, driver.StatusName(status)));
}

// A reserved range of the device's addresses.
class AddressRange {
 public:
  static Result<AddressRange> Reserve(CudaDriver& driver, size_t bytes, size_t alignment) {
    CudaAddress address = 0;
    TRY(Check(driver, driver.ReserveAddress(&address, bytes, alignment), "cuMemAddressReserve"));
    return AddressRange(driver, address, bytes);
  }
  AddressRange(AddressRange&& other) noexcept
      : driver_(std::exchange(other.driver_, nullptr)), address_(other.address_), bytes_(other.bytes_) {}
  AddressRange& operator=(AddressRange&&) = delete;
  ~AddressRange() {
    if (driver_ != nullptr) {
      driver_->FreeAddress(address_, bytes_);
    }
  }

  std::byte* begin() const { return reinterpret_cast<std::byte*>(address_); }
  int64_t bytes() const { return static_cast<int64_t>(bytes_); }

 private:
  AddressRange(CudaDriver& driver, CudaAddress address, size_t bytes)
      : driver_(&driver), address_(address), bytes_(bytes) {}

  CudaDriver* driver_;
  CudaAddress address_;
  size_t bytes_;
};

// The end of the last step submitted. submitted >= completed; equal: nothing to wait for.
class StepFence {
 public:
  static Result<std::unique_ptr<StepFence>> Create(CudaDriver& driver, CudaStream stream) {
    CudaEvent event = nullptr;
    TRY(Check(driver, driver.CreateEvent(&event), "cuEventCreate"));
    return std::unique_ptr<StepFence>(new StepFence(driver, stream, event));  // NOLINT: private
  }
  ~StepFence() { driver_.DestroyEvent(event_); }

  void Submitted() {
    if (const CudaStatus status = driver_.RecordEvent(event_, stream_); status != kCudaSuccess) {
      broken_ = status;  // a step that nobody can wait for: every Wait fails from here on
    }
    submitted_.fetch_add(1);
  }

  // Others may submit and wait meanwhile: waits at least for what was submitted before the call.
  Result<void> Wait() {
    const uint64_t step = submitted_;
    TRY(Check(driver_, broken_, "cuEventRecord"));
    if (completed_ >= step) {
      return {};
    }
    if (const CudaStatus status = driver_.SynchronizeEvent(event_); status != kCudaSuccess) {
      return MakeError(ErrorCode::kInternal, "the last step failed, cuEventSynchronize: " + driver_.StatusName(status));
    }
    uint64_t known = completed_;
    while (known < step && !completed_.compare_exchange_weak(known, step)) {
    }
    return {};
  }

 private:
  StepFence(CudaDriver& driver, CudaStream stream, CudaEvent event) : driver_(driver), stream_(stream), event_(event) {}

  CudaDriver& driver_;
  const CudaStream stream_;
  const CudaEvent event_;
  std::atomic<CudaStatus> broken_{kCudaSuccess};
  std::atomic<uint64_t> submitted_{0};
  std::atomic<uint64_t> completed_{0};
};

class CudaBackend final : public CudaVmBackend {
 public:
  CudaBackend(const VmOptions& options, size_t granularity, std::unique_ptr<CudaDriver> driver, AddressRange window,
              std::unique_ptr<StepFence> fence)
      : options_(options),
        granularity_(static_cast<int64_t>(granularity)),
        driver_(std::move(driver)),
        fence_(std::move(fence)),
        window_(std::move(window)),
        handles_(static_cast<size_t>(options.max_pages)) {}
  ~CudaBackend() override;

  // Whether there is memory for a page, and, where sealed pages are to be protected, whether the device knows access
  // for reading only. To be called once, before any page exists.
  Result<void> Probe(bool protect_sealed);

  std::string_view name() const override { return "cuda"; }
  std::string Describe() const override;
  int64_t granularity() const override { return granularity_; }
  bool EnforcesReadOnly() const override { return read_only_; }
  Result<std::byte*> ReserveArena(int64_t bytes) override;
  Result<void> Create(PageId page) override;
  Result<void> Release(PageId page) override;
  Result<void> Map(std::byte* address, std::span<const PageId> pages, bool writable) override;
  Result<void> Replace(std::byte* address, PageId page, bool writable) override;
  Result<void> Protect(std::byte* address, int64_t count, bool writable) override;
  Result<void> Unmap(std::byte* address, int64_t count) override;
  Result<void> Copy(std::byte* to, const std::byte* from) override;
  Result<void> ReadPage(PageId page, std::span<std::byte> to) override;
  Result<void> WritePage(PageId page, std::span<const std::byte> from) override;
  Result<int> ExportPage(PageId page) override;
  void StepSubmitted() override { fence_->Submitted(); }
  int64_t PhysicalBytes() const override { return created_ * options_.page_bytes; }

 private:
  size_t Bytes(int64_t pages) const { return static_cast<size_t>(pages * options_.page_bytes); }
  std::byte* WindowOf(PageId page) const { return window_.begin() + page * options_.page_bytes; }
  CudaAccess AccessOf(bool writable) const {
    return writable || !read_only_ ? CudaAccess::kReadWrite : CudaAccess::kRead;
  }
  // Index of a page's place in the arena, `count` of which lie there.
  size_t PlaceOf(const std::byte* address, int64_t count) const;
  void CheckPlaces(size_t first, int64_t count, bool mapped) const;
  // All or nothing; no bookkeeping.
  Result<void> MapPages(std::byte* address, std::span<const PageId> pages, CudaAccess access);
  Result<void> UnmapPages(const std::byte* address, int64_t count) {
    return Check(*driver_, driver_->Unmap(ToDevice(address), Bytes(count)), "cuMemUnmap");
  }
  Result<void> CopyBytes(CudaAddress to, CudaAddress from) {
    TRY(fence_->Wait());  // the last step may write what is read here
    return Check(*driver_, driver_->Copy(to, from, Bytes(1)), "cuMemcpy");
  }

  const VmOptions options_;
  const int64_t granularity_;
  const std::unique_ptr<CudaDriver> driver_;
  const std::unique_ptr<StepFence> fence_;
  const AddressRange window_;
  bool read_only_ = false;  // constant after Probe
  std::optional<AddressRange> arena_;
  // Entries of the two belong to whoever may change the page, or the place.
  std::vector<std::optional<CudaHandle>> handles_;  // by page
  std::vector<uint8_t> mapped_;                     // by place in the arena: whether a page is mapped there
  std::atomic<int64_t> created_{0};
};

// What a lost device refuses here is lost anyway: the process is about to end.
CudaBackend::~CudaBackend() {
  (void)fence_->Wait();
  for (size_t place = 0; place < mapped_.size(); ++place) {
    if (mapped_[place] != 0) {
      (void)UnmapPages(arena_->begin() + static_cast<int64_t>(place) * options_.page_bytes, 1);
    }
  }
  for (size_t page = 0; page < handles_.size(); ++page) {
    if (handles_[page]) {
      (void)UnmapPages(WindowOf(static_cast<PageId>(page)), 1);
      driver_->ReleaseHandle(*handles_[page]);
    }
  }
}

std::string CudaBackend::Describe() const {
  return fmt::format("cuda, {}, {}{}", driver_->DeviceName(),
                     read_only_ ? "sealed pages read-only" : "sealed pages not protected",
                     driver_->ExportsHandles() ? ", exportable" : "");
}

Result<void> CudaBackend::Probe(bool protect_sealed) {
  TRY(Create(0));
  read_only_ = protect_sealed && driver_->SetAccess(ToDevice(WindowOf(0)), Bytes(1), CudaAccess::kRead) == kCudaSuccess;
  return Release(0);
}

size_t CudaBackend::PlaceOf(const std::byte* address, int64_t count) const {
  CHECK(arena_);
  const int64_t offset = address - arena_->begin();
  CHECK(offset >= 0 && offset % options_.page_bytes == 0 && count > 0);
  CHECK(offset / options_.page_bytes + count <= std::ssize(mapped_));
  return static_cast<size_t>(offset / options_.page_bytes);
}

void CudaBackend::CheckPlaces(size_t first, int64_t count, bool mapped) const {
  for (size_t place = first; place < first + static_cast<size_t>(count); ++place) {
    CHECK_MSG((mapped_[place] != 0) == mapped, "place {} of the arena is {}mapped", place, mapped ? "not " : "");
  }
}

Result<void> CudaBackend::MapPages(std::byte* address, std::span<const PageId> pages, CudaAccess access) {
  const auto count = static_cast<int64_t>(pages.size());
  int64_t mapped = 0;
  Result<void> done;
  while (mapped < count && done.ok()) {
    const std::optional<CudaHandle>& handle = handles_.at(pages[static_cast<size_t>(mapped)]);
    CHECK_MSG(handle, "page {} does not exist", pages[static_cast<size_t>(mapped)]);
    const CudaAddress target = ToDevice(address + mapped * options_.page_bytes);
    done = Check(*driver_, driver_->Map(target, Bytes(1), *handle), "cuMemMap");
    mapped += done.ok() ? 1 : 0;
  }
  if (done.ok()) {
    done = Check(*driver_, driver_->SetAccess(ToDevice(address), Bytes(count), access), "cuMemSetAccess");
  }
  if (!done.ok() && mapped > 0) {  // no kernel knows of these places: nothing to wait for
    if (auto undone = UnmapPages(address, mapped); !undone.ok()) {
      return MakeError(ErrorCode::kInternal, done.error().message + ", and then " + undone.error().message);
    }
  }
  return done;
}

Result<std::byte*> CudaBackend::ReserveArena(int64_t bytes) {
  CHECK(!arena_ && bytes > 0 && bytes % options_.page_bytes == 0);
  ASSIGN_OR_RETURN(AddressRange arena,
                   AddressRange::Reserve(*driver_, static_cast<size_t>(bytes), static_cast<size_t>(granularity_)));
  mapped_.assign(static_cast<size_t>(bytes / options_.page_bytes), 0);
  arena_.emplace(std::move(arena));
  return arena_->begin();
}

// Zeroed, for the driver promises nothing about what was there before.
Result<void> CudaBackend::Create(PageId page) {
  std::optional<CudaHandle>& handle = handles_.at(page);
  CHECK_MSG(!handle, "page {} exists", page);
  CudaHandle created = 0;
  TRY(Check(*driver_, driver_->CreateHandle(&created, Bytes(1), driver_->ExportsHandles()), "cuMemCreate"));
  handle = created;
  auto done = MapPages(WindowOf(page), {&page, 1}, CudaAccess::kReadWrite);
  if (done.ok()) {
    done = Check(*driver_, driver_->Fill(ToDevice(WindowOf(page)), 0, Bytes(1)), "cuMemset");
    if (!done.ok()) {
      (void)UnmapPages(WindowOf(page), 1);  // refused too: the place stays taken, and the next Create there says so
    }
  }
  if (!done.ok()) {
    driver_->ReleaseHandle(created);
    handle.reset();
    return done;
  }
  ++created_;
  return {};
}

Result<void> CudaBackend::Release(PageId page) {
  std::optional<CudaHandle>& handle = handles_.at(page);
  CHECK_MSG(handle, "page {} does not exist", page);
  TRY(fence_->Wait());
  TRY(UnmapPages(WindowOf(page), 1));
  if (auto released = Check(*driver_, driver_->ReleaseHandle(*handle), "cuMemRelease"); !released.ok()) {
    TRY(MapPages(WindowOf(page), {&page, 1}, CudaAccess::kReadWrite));
    return released;
  }
  handle.reset();
  --created_;
  return {};
}

Result<void> CudaBackend::Map(std::byte* address, std::span<const PageId> pages, bool writable) {
  const auto count = static_cast<int64_t>(pages.size());
  const size_t place = PlaceOf(address, count);
  CheckPlaces(place, count, false);
  TRY(MapPages(address, pages, AccessOf(writable)));
  std::fill_n(mapped_.begin() + static_cast<int64_t>(place), count, uint8_t{1});
  return {};
}

// Nothing may be mapped there, after a Replace that failed.
Result<void> CudaBackend::Replace(std::byte* address, PageId page, bool writable) {
  const size_t place = PlaceOf(address, 1);
  if (mapped_[place] != 0) {
    TRY(Unmap(address, 1));
  }
  return Map(address, {&page, 1}, writable);
}

Result<void> CudaBackend::Protect(std::byte* address, int64_t count, bool writable) {
  CheckPlaces(PlaceOf(address, count), count, true);
  if (!read_only_) {
    return {};
  }
  TRY(fence_->Wait());
  return Check(*driver_, driver_->SetAccess(ToDevice(address), Bytes(count), AccessOf(writable)), "cuMemSetAccess");
}

Result<void> CudaBackend::Unmap(std::byte* address, int64_t count) {
  const size_t place = PlaceOf(address, count);
  CheckPlaces(place, count, true);
  TRY(fence_->Wait());
  TRY(UnmapPages(address, count));
  std::fill_n(mapped_.begin() + static_cast<int64_t>(place), count, uint8_t{0});
  return {};
}

Result<void> CudaBackend::Copy(std::byte* to, const std::byte* from) {
  CheckPlaces(PlaceOf(to, 1), 1, true);
  CheckPlaces(PlaceOf(from, 1), 1, true);
  return CopyBytes(ToDevice(to), ToDevice(from));
}

Result<void> CudaBackend::ReadPage(PageId page, std::span<std::byte> to) {
  CHECK(handles_.at(page) && to.size() == Bytes(1));
  return CopyBytes(ToDevice(to.data()), ToDevice(WindowOf(page)));
}

Result<void> CudaBackend::WritePage(PageId page, std::span<const std::byte> from) {
  CHECK(handles_.at(page) && from.size() == Bytes(1));
  return CopyBytes(ToDevice(WindowOf(page)), ToDevice(from.data()));
}

Result<int> CudaBackend::ExportPage(PageId page) {
  CHECK(handles_.at(page));
  if (!driver_->ExportsHandles()) {
    return MakeError(ErrorCode::kUnsupported, driver_->DeviceName() + " exports no memory handles");
  }
  int file = -1;
  TRY(Check(*driver_, driver_->ExportHandle(&file, *handles_[page]), "cuMemExportToShareableHandle"));
  return file;
}

}  // namespace

Result<std::unique_ptr<CudaVmBackend>> MakeCudaBackend(const VmOptions& options, std::unique_ptr<CudaDriver> driver,
                                                       const CudaVmOptions& cuda_options) {
  size_t granularity = 0;
  TRY(Check(*driver, driver->Granularity(&granularity), "cuMemGetAllocationGranularity"));
  CHECK(granularity > 0);
  if (options.page_bytes < 1 || options.page_bytes % static_cast<int64_t>(granularity) != 0) {
    return MakeError(ErrorCode::kInvalidArgument, fmt::format("a KV page of {} bytes is no multiple of the device's {}",
                                                              options.page_bytes, granularity));
  }
  if (options.max_pages < 1 || options.max_pages > kMaxPoolBytes / options.page_bytes) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("{} KV pages of {} bytes are out of range", options.max_pages, options.page_bytes));
  }
  const auto pool_bytes = static_cast<size_t>(options.page_bytes * options.max_pages);
  ASSIGN_OR_RETURN(AddressRange window, AddressRange::Reserve(*driver, pool_bytes, granularity));
  ASSIGN_OR_RETURN(auto fence, StepFence::Create(*driver, cuda_options.step_stream));
  auto backend =
      std::make_unique<CudaBackend>(options, granularity, std::move(driver), std::move(window), std::move(fence));
  TRY(backend->Probe(cuda_options.protect_sealed));
  return std::unique_ptr<CudaVmBackend>(std::move(backend));
}

}  // namespace causeway::memory
