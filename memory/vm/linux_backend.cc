// memfd + mmap: page i is the file range [i * page_bytes, (i + 1) * page_bytes). Measured costs and the
// reasons for each call are in memory/README.md.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "fmt/format.h"
#include "memory/vm/vm_backend.h"

namespace causeway::memory {
namespace {

constexpr int64_t kDefaultMaxMappings = 65530;  // the kernel's own default
constexpr int64_t kHugePageBytes = int64_t{2} << 20;
constexpr int64_t kMaxFileBytes = int64_t{1} << 46;

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

// A signal may interrupt fallocate at any page; it then has undone what it did.
int Fallocate(int file, int mode, off_t offset, off_t bytes) {
  int result = 0;
  do {
    result = ::fallocate(file, mode, offset, bytes);
  } while (result != 0 && errno == EINTR);
  return result;
}

class LinuxBackend final : public VmBackend {
 public:
  LinuxBackend(const VmOptions& options, int file) : options_(options), file_(file), max_mappings_(ReadMaxMappings()) {}

  ~LinuxBackend() override {
    if (reserved_ != nullptr) {
      ::munmap(reserved_, reserved_bytes_);
    }
    ::close(file_);
  }

  std::string_view name() const override { return "linux"; }
  int64_t granularity() const override { return ::sysconf(_SC_PAGESIZE); }
  int64_t MaxMappings() const override { return max_mappings_; }

  // Aligned to huge pages, so that pages of that size can be mapped as such.
  Result<std::byte*> ReserveArena(int64_t bytes) override {
    CHECK(reserved_ == nullptr && bytes > 0);
    reserved_bytes_ = static_cast<size_t>(bytes + kHugePageBytes);
    void* const address =
        ::mmap(nullptr, reserved_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (address == MAP_FAILED) {
      return SystemError(ErrorCode::kFailedPrecondition,
                         fmt::format("cannot reserve {} bytes of address space", bytes));
    }
    reserved_ = address;
    const auto at = reinterpret_cast<uintptr_t>(address);
    return static_cast<std::byte*>(address) + (kHugePageBytes - at % kHugePageBytes) % kHugePageBytes;
  }

  // fallocate backs the range now and reports ENOSPC or ENOMEM; a first touch would be a SIGBUS.
  Result<void> Create(PageId page) override {
    CHECK(page < options_.max_pages);
    if (Fallocate(file_, 0, Offset(page), options_.page_bytes) != 0) {
      return SystemError(ErrorCode::kResourceExhausted, "cannot back a KV page with memory");
    }
    return {};
  }

  Result<void> Release(PageId page) override {
    if (Fallocate(file_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, Offset(page), options_.page_bytes) != 0) {
      return SystemError(ErrorCode::kFailedPrecondition, "cannot give a KV page back");
    }
    return {};
  }

  Result<void> Map(std::byte* address, std::span<const PageId> pages, bool writable) override {
    size_t begin = 0;
    while (begin < pages.size()) {
      size_t end = begin + 1;  // a run of neighbours in the file is one mapping
      while (end < pages.size() && pages[end] == pages[end - 1] + 1) {
        ++end;
      }
      std::byte* const target = address + static_cast<int64_t>(begin) * options_.page_bytes;
      if (!MapRun(target, pages[begin], static_cast<int64_t>(end - begin), writable)) {
        const Error error = SystemError(ErrorCode::kResourceExhausted, "cannot map KV pages");
        // Left mapped, the pages would be read by one sequence and written by another; and a fixed mapping that
        // fails late may leave a hole, where the system would put somebody else's memory.
        CHECK_MSG(Unmap(address, static_cast<int64_t>(end)).ok(), "cannot take a mapping back");
        return error;
      }
      begin = end;
    }
    return {};
  }

  // A mapping over a mapping takes its place at once: there is no moment with none.
  Result<void> Replace(std::byte* address, PageId page, bool writable) override {
    if (!MapRun(address, page, 1, writable)) {
      return SystemError(ErrorCode::kResourceExhausted, "cannot replace a KV page");
    }
    return {};
  }

  Result<void> Protect(std::byte* address, int64_t count, bool writable) override {
    const int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    if (::mprotect(address, Bytes(count), protection) != 0) {
      return SystemError(ErrorCode::kFailedPrecondition, "cannot change access to KV pages");
    }
    return {};
  }

  // Mapping over the range replaces it atomically: no moment at which it is a hole for someone else.
  Result<void> Unmap(std::byte* address, int64_t count) override {
    void* const got =
        ::mmap(address, Bytes(count), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    if (got == MAP_FAILED) {
      return SystemError(ErrorCode::kFailedPrecondition, "cannot unmap KV pages");
    }
    return {};
  }

  Result<void> Copy(std::byte* to, const std::byte* from) override {
    std::memcpy(to, from, Bytes(1));
    return {};
  }

  Result<void> ReadPage(PageId page, std::span<std::byte> to) override {
    CHECK(to.size() == Bytes(1));
    for (size_t done = 0; done < to.size();) {
      const ssize_t got = ::pread(file_, to.data() + done, to.size() - done, Offset(page) + static_cast<off_t>(done));
      if (got <= 0 && (got == 0 || errno != EINTR)) {
        return SystemError(ErrorCode::kFailedPrecondition, "cannot read a KV page");
      }
      done += static_cast<size_t>(std::max<ssize_t>(got, 0));
    }
    return {};
  }

  Result<void> WritePage(PageId page, std::span<const std::byte> from) override {
    CHECK(from.size() == Bytes(1));
    for (size_t done = 0; done < from.size();) {
      const ssize_t put =
          ::pwrite(file_, from.data() + done, from.size() - done, Offset(page) + static_cast<off_t>(done));
      if (put <= 0 && (put == 0 || errno != EINTR)) {
        return SystemError(ErrorCode::kFailedPrecondition, "cannot write a KV page");
      }
      done += static_cast<size_t>(std::max<ssize_t>(put, 0));
    }
    return {};
  }

  int64_t PhysicalBytes() const override {
    struct stat status {};
    CHECK(::fstat(file_, &status) == 0);
    return static_cast<int64_t>(status.st_blocks) * 512;
  }

 private:
  off_t Offset(PageId page) const { return static_cast<off_t>(page) * options_.page_bytes; }
  size_t Bytes(int64_t pages) const { return static_cast<size_t>(pages * options_.page_bytes); }

  // MAP_POPULATE fills the page tables here, on this thread, not on the first access of a compute thread.
  bool MapRun(std::byte* target, PageId first, int64_t count, bool writable) {
    const int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    return ::mmap(target, Bytes(count), protection, MAP_SHARED | MAP_FIXED | MAP_POPULATE, file_, Offset(first)) !=
           MAP_FAILED;
  }

  const VmOptions options_;
  const int file_;
  const int64_t max_mappings_;
  void* reserved_ = nullptr;  // the arena and what aligns it
  size_t reserved_bytes_ = 0;
};

}  // namespace

Result<std::unique_ptr<VmBackend>> MakeLinuxBackend(const VmOptions& options) {
  const int64_t system_page = ::sysconf(_SC_PAGESIZE);
  if (options.page_bytes < 1 || options.page_bytes % system_page != 0) {
    return MakeError(ErrorCode::kInvalidArgument, fmt::format("a KV page of {} bytes is no multiple of the system's {}",
                                                              options.page_bytes, system_page));
  }
  if (options.max_pages < 1 || options.max_pages > kMaxFileBytes / options.page_bytes) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("{} KV pages of {} bytes are out of range", options.max_pages, options.page_bytes));
  }
  const int file = ::memfd_create("causeway-kv", MFD_CLOEXEC);
  if (file < 0) {
    return SystemError(ErrorCode::kFailedPrecondition, "cannot create a memory file");
  }
  auto backend = std::make_unique<LinuxBackend>(options, file);
  if (::ftruncate(file, static_cast<off_t>(options.page_bytes * options.max_pages)) != 0) {
    return SystemError(ErrorCode::kResourceExhausted, "cannot size the memory file");
  }
  return std::unique_ptr<VmBackend>(std::move(backend));
}

}  // namespace causeway::memory
