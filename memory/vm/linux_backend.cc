// memfd + mmap: page i is the file range [i * page_bytes, (i + 1) * page_bytes). Measured costs and the
// reasons for each call are in memory/README.md.
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include <sys/stat.h>

#include "base/check.h"
#include "fmt/format.h"
#include "memory/vm/linux_calls.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25  // Linux 6.1
#endif
#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21U << 26)
#endif

namespace causeway::memory {
namespace {

constexpr int64_t kDefaultMaxMappings = 65530;  // the kernel's own default
constexpr int64_t kHugePageBytes = int64_t{2} << 20;
constexpr int kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
constexpr int64_t kMaxFileBytes = int64_t{1} << 46;
// In a row, until we stop asking: each one costs milliseconds of compaction, and a machine whose memory is in pieces
// stays so.
constexpr int kMaxCollapseFailures = 64;

Error SystemError(ErrorCode code, std::string_view what) {
  return MakeError(code, fmt::format("{}: {}", what, std::strerror(errno)));
}

// Three quarters of vm.max_map_count: the rest is for threads, libraries and model files.
int64_t ReadMaxMappings() {
  int64_t limit = 0;
  std::ifstream file("/proc/sys/vm/max_map_count");
  if (!(file >> limit) || limit < 1) {
    limit = kDefaultMaxMappings;
  }
  return limit / 4 * 3;
}

// Address space of our own, aligned to huge pages so that such pages can be mapped as what they are. Inaccessible but
// for what is mapped into it; all of that goes with it.
class Reservation {
 public:
  static std::optional<Reservation> Of(const LinuxCalls& calls, int64_t bytes) {
    const auto total = static_cast<size_t>(bytes + kHugePageBytes);
    void* const base = calls.mmap(nullptr, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return base == MAP_FAILED ? std::nullopt : std::optional(Reservation(base, total));
  }
  Reservation(Reservation&& other) noexcept : base_(std::exchange(other.base_, nullptr)), bytes_(other.bytes_) {}
  Reservation& operator=(Reservation&&) = delete;
  ~Reservation() {
    if (base_ != nullptr) {
      ::munmap(base_, bytes_);
    }
  }

  std::byte* address() const {
    const auto at = reinterpret_cast<uintptr_t>(base_);
    return static_cast<std::byte*>(base_) + (kHugePageBytes - at % kHugePageBytes) % kHugePageBytes;
  }

 private:
  Reservation(void* base, size_t bytes) : base_(base), bytes_(bytes) {}

  void* base_;
  size_t bytes_;
};

class LinuxBackend final : public VmBackend {
 public:
  // `huge_pages` of the options is not kAuto: the kind of memory is settled, and `file` is of that kind.
  LinuxBackend(const VmOptions& options, const LinuxCalls& calls, int file)
      : options_(options),
        calls_(calls),
        file_(file),
        max_mappings_(ReadMaxMappings()),
        collapsed_(static_cast<size_t>(options.max_pages)) {}
  ~LinuxBackend() override { ::close(file_); }

  std::string_view name() const override { return "linux"; }
  std::string Describe() const override;
  int64_t granularity() const override { return ::sysconf(_SC_PAGESIZE); }
  int64_t MaxMappings() const override { return max_mappings_; }
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
  bool ImproveRun(PageId first, int64_t count) override;
  int64_t PhysicalBytes() const override;

 private:
  off_t Offset(PageId page) const { return static_cast<off_t>(page) * options_.page_bytes; }
  size_t Bytes(int64_t pages) const { return static_cast<size_t>(pages * options_.page_bytes); }
  bool IsHuge(PageId page) const { return options_.huge_pages == HugePages::kHugetlb || collapsed_[page]; }

  // A signal may interrupt fallocate at any page; it then has undone what it did.
  bool Fallocate(PageId page, int mode) {
    int result = 0;
    do {
      result = calls_.fallocate(file_, mode, Offset(page), options_.page_bytes);
    } while (result != 0 && errno == EINTR);
    return result == 0;
  }
  // MAP_POPULATE fills the page tables here, on this thread, not on the first access of a compute thread.
  bool MapRun(std::byte* target, PageId first, int64_t count, bool writable, int populate = MAP_POPULATE) {
    const int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    return calls_.mmap(target, Bytes(count), protection, MAP_SHARED | MAP_FIXED | populate, file_, Offset(first)) !=
           MAP_FAILED;
  }
  // Mapping over the range replaces it atomically: no moment at which it is a hole for someone else.
  bool UnmapRange(std::byte* address, int64_t count) {
    return calls_.mmap(address, Bytes(count), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
                       0) != MAP_FAILED;
  }

  const VmOptions options_;
  const LinuxCalls calls_;
  const int file_;
  const int64_t max_mappings_;
  std::optional<Reservation> arena_;
  std::vector<std::atomic<bool>> collapsed_;  // by page; written by whoever may change the page
  std::atomic<int> collapse_failures_{0};     // in a row; kMaxCollapseFailures: no more attempts
};

std::string LinuxBackend::Describe() const {
  switch (options_.huge_pages) {
    case HugePages::kHugetlb: return "linux, pages set aside as hugetlb";
    case HugePages::kNever: return fmt::format("linux, system pages of {} bytes", granularity());
    default:
      return fmt::format("linux, system pages of {} bytes until they are collapsed into huge ones", granularity());
  }
}

Result<std::byte*> LinuxBackend::ReserveArena(int64_t bytes) {
  CHECK(!arena_ && bytes > 0);
  std::optional<Reservation> arena = Reservation::Of(calls_, bytes);
  if (!arena) {
    return SystemError(ErrorCode::kFailedPrecondition, fmt::format("cannot reserve {} bytes of address space", bytes));
  }
  arena_.emplace(std::move(*arena));
  return arena_->address();
}

// fallocate backs the range now and reports ENOSPC or ENOMEM; a first touch would be a SIGBUS.
Result<void> LinuxBackend::Create(PageId page) {
  CHECK(page < options_.max_pages);
  if (!Fallocate(page, 0)) {
    Error error = SystemError(ErrorCode::kResourceExhausted, "cannot back a KV page with memory");
    (void)Fallocate(page, kPunch);  // hugetlb files keep what they had got by then
    return error;
  }
  return {};
}

Result<void> LinuxBackend::Release(PageId page) {
  if (!Fallocate(page, kPunch)) {
    return SystemError(ErrorCode::kFailedPrecondition, "cannot give a KV page back");
  }
  collapsed_[page] = false;
  return {};
}

Result<void> LinuxBackend::Map(std::byte* address, std::span<const PageId> pages, bool writable) {
  size_t begin = 0;
  while (begin < pages.size()) {
    size_t end = begin + 1;  // a run of neighbours in the file is one mapping
    while (end < pages.size() && pages[end] == pages[end - 1] + 1) {
      ++end;
    }
    std::byte* const target = address + static_cast<int64_t>(begin) * options_.page_bytes;
    if (!MapRun(target, pages[begin], static_cast<int64_t>(end - begin), writable)) {
      Error error = SystemError(ErrorCode::kResourceExhausted, "cannot map KV pages");
      // Left mapped, the pages would be read by one sequence and written by another; and a fixed mapping that
      // fails late may leave a hole, where the system would put somebody else's memory.
      CHECK_MSG(UnmapRange(address, static_cast<int64_t>(end)), "cannot take a mapping back");
      return error;
    }
    begin = end;
  }
  return {};
}

// A mapping over a mapping takes its place at once: there is no moment with none.
Result<void> LinuxBackend::Replace(std::byte* address, PageId page, bool writable) {
  if (!MapRun(address, page, 1, writable)) {
    return SystemError(ErrorCode::kResourceExhausted, "cannot replace a KV page");
  }
  return {};
}

Result<void> LinuxBackend::Protect(std::byte* address, int64_t count, bool writable) {
  const int before = writable ? PROT_READ : PROT_READ | PROT_WRITE;
  const int after = writable ? PROT_READ | PROT_WRITE : PROT_READ;
  if (calls_.mprotect(address, Bytes(count), after) != 0) {
    Error error = SystemError(ErrorCode::kFailedPrecondition, "cannot change access to KV pages");
    // It goes mapping by mapping and fails where it must split the last one. The way back only merges.
    CHECK_MSG(calls_.mprotect(address, Bytes(count), before) == 0, "cannot give KV pages their access back");
    return error;
  }
  return {};
}

Result<void> LinuxBackend::Unmap(std::byte* address, int64_t count) {
  if (!UnmapRange(address, count)) {
    return SystemError(ErrorCode::kFailedPrecondition, "cannot unmap KV pages");
  }
  return {};
}

Result<void> LinuxBackend::Copy(std::byte* to, const std::byte* from) {
  std::memcpy(to, from, Bytes(1));
  return {};
}

Result<void> LinuxBackend::ReadPage(PageId page, std::span<std::byte> to) {
  CHECK(to.size() == Bytes(1));
  for (size_t done = 0; done < to.size();) {
    const ssize_t got =
        calls_.pread(file_, to.data() + done, to.size() - done, Offset(page) + static_cast<off_t>(done));
    if (got <= 0 && (got == 0 || errno != EINTR)) {
      return SystemError(ErrorCode::kFailedPrecondition, "cannot read a KV page");
    }
    done += static_cast<size_t>(std::max<ssize_t>(got, 0));
  }
  return {};
}

Result<void> LinuxBackend::WritePage(PageId page, std::span<const std::byte> from) {
  CHECK(from.size() == Bytes(1));
  if (IsHuge(page)) {  // hugetlb files know no pwrite, and into a collapsed page it goes 4 KiB at a time
    const std::optional<Reservation> window = Reservation::Of(calls_, options_.page_bytes);
    if (!window || !MapRun(window->address(), page, 1, true)) {
      return SystemError(ErrorCode::kResourceExhausted, "cannot map a KV page in order to write it");
    }
    std::memcpy(window->address(), from.data(), from.size());
    return {};
  }
  for (size_t done = 0; done < from.size();) {
    const ssize_t put =
        calls_.pwrite(file_, from.data() + done, from.size() - done, Offset(page) + static_cast<off_t>(done));
    if (put <= 0 && (put == 0 || errno != EINTR)) {
      return SystemError(ErrorCode::kFailedPrecondition, "cannot write a KV page");
    }
    done += static_cast<size_t>(std::max<ssize_t>(put, 0));
  }
  return {};
}

// Through a mapping of its own, for madvise wants one and the pages may have none. The kernel copies the bytes into
// huge pages and drops the other mappings' page table entries: who reads or writes a page meanwhile waits in a fault,
// and the first access through each mapping afterwards costs one fault (5 us), which maps all 2 MiB.
bool LinuxBackend::ImproveRun(PageId first, int64_t count) {
  CHECK(count > 0 && first + count <= options_.max_pages);
  const auto begin = collapsed_.begin() + first;
  const bool huge = options_.huge_pages == HugePages::kHugetlb || std::all_of(begin, begin + count, std::identity());
  if (huge || options_.huge_pages != HugePages::kCollapse || collapse_failures_ >= kMaxCollapseFailures) {
    return huge;
  }
  const std::optional<Reservation> window = Reservation::Of(calls_, count * options_.page_bytes);
  if (!window || !MapRun(window->address(), first, count, true, 0)) {
    return false;
  }
  if (calls_.madvise(window->address(), Bytes(count), MADV_COLLAPSE) != 0) {
    // EINVAL is a kernel that cannot, for good. ENOMEM, EAGAIN and EBUSY are no huge page to be had just now.
    collapse_failures_ += errno == EINVAL ? kMaxCollapseFailures : 1;
    return false;
  }
  collapse_failures_ = 0;
  std::fill(begin, begin + count, true);
  return true;
}

int64_t LinuxBackend::PhysicalBytes() const {
  struct stat status {};
  CHECK(::fstat(file_, &status) == 0);
  return static_cast<int64_t>(status.st_blocks) * 512;
}

// A file of `options.huge_pages`, which is not kAuto, with room for all pages. Of hugetlb pages all are reserved here:
// mmap is where the system says that they are too few.
Result<std::unique_ptr<VmBackend>> Make(const VmOptions& options, const LinuxCalls& calls) {
  const bool hugetlb = options.huge_pages == HugePages::kHugetlb;
  const int file = calls.memfd_create("causeway-kv", MFD_CLOEXEC | (hugetlb ? MFD_HUGETLB | MFD_HUGE_2MB : 0U));
  if (file < 0) {
    return SystemError(ErrorCode::kFailedPrecondition, "cannot create a memory file");
  }
  auto backend = std::make_unique<LinuxBackend>(options, calls, file);
  const auto bytes = static_cast<size_t>(options.page_bytes * options.max_pages);
  if (::ftruncate(file, static_cast<off_t>(bytes)) != 0) {
    return SystemError(ErrorCode::kResourceExhausted, "cannot size the memory file");
  }
  if (hugetlb) {
    void* const reserved = calls.mmap(nullptr, bytes, PROT_NONE, MAP_SHARED, file, 0);
    if (reserved == MAP_FAILED) {
      return SystemError(ErrorCode::kResourceExhausted, fmt::format("cannot reserve {} bytes of hugetlb pages", bytes));
    }
    ::munmap(reserved, bytes);  // the reservation stays with the file
  }
  return std::unique_ptr<VmBackend>(std::move(backend));
}

}  // namespace

Result<std::unique_ptr<VmBackend>> MakeLinuxBackend(const VmOptions& options, const LinuxCalls& calls) {
  const bool fits_huge = options.page_bytes % kHugePageBytes == 0;
  const int64_t unit = options.huge_pages == HugePages::kHugetlb ? kHugePageBytes : ::sysconf(_SC_PAGESIZE);
  if (options.page_bytes < 1 || options.page_bytes % unit != 0) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("a KV page of {} bytes is no multiple of the system's {}", options.page_bytes, unit));
  }
  if (options.max_pages < 1 || options.max_pages > kMaxFileBytes / options.page_bytes) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("{} KV pages of {} bytes are out of range", options.max_pages, options.page_bytes));
  }
  VmOptions settled = options;
  if (options.huge_pages == HugePages::kAuto && fits_huge) {
    settled.huge_pages = HugePages::kHugetlb;
    if (auto backend = Make(settled, calls); backend.ok()) {
      return backend;
    }
  }
  settled.huge_pages = options.huge_pages == HugePages::kHugetlb              ? HugePages::kHugetlb
                       : fits_huge && options.huge_pages != HugePages::kNever ? HugePages::kCollapse
                                                                              : HugePages::kNever;
  return Make(settled, calls);
}

Result<std::unique_ptr<VmBackend>> MakeLinuxBackend(const VmOptions& options) {
  return MakeLinuxBackend(options, LinuxCalls{});
}

}  // namespace causeway::memory
