// memfd + mmap: page i is the file range [i * page_bytes, (i + 1) * page_bytes). Measured costs and the
// reasons for each call are in memory/README.md.
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "fmt/format.h"
#include "memory/vm/vm_backend.h"

namespace causeway::memory {
namespace {

Error SystemError(ErrorCode code, std::string_view what) {
  return MakeError(code, fmt::format("{}: {}", what, std::strerror(errno)));
}

class LinuxBackend final : public VmBackend {
 public:
  LinuxBackend(const VmOptions& options, int file) : options_(options), file_(file) {}

  ~LinuxBackend() override {
    if (arena_ != nullptr) {
      ::munmap(arena_, static_cast<size_t>(arena_bytes_));
    }
    ::close(file_);
  }

  std::string_view name() const override { return "linux"; }
  int64_t granularity() const override { return 4096; }

  Result<std::byte*> ReserveArena(int64_t bytes) override {
    CHECK(arena_ == nullptr);
    void* const address = ::mmap(nullptr, static_cast<size_t>(bytes), PROT_NONE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (address == MAP_FAILED) {
      return SystemError(ErrorCode::kFailedPrecondition,
                         fmt::format("cannot reserve {} bytes of address space", bytes));
    }
    arena_ = static_cast<std::byte*>(address);
    arena_bytes_ = bytes;
    return arena_;
  }

  // fallocate backs the range now and reports ENOSPC or ENOMEM; a first touch would be a SIGBUS.
  Result<void> Create(PageId page) override {
    CHECK(page < options_.max_pages);
    if (::fallocate(file_, 0, Offset(page), options_.page_bytes) != 0) {
      return SystemError(ErrorCode::kResourceExhausted, "cannot back a KV page with memory");
    }
    return {};
  }

  Result<void> Release(PageId page) override {
    if (::fallocate(file_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, Offset(page),
                    options_.page_bytes) != 0) {
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
        if (begin > 0) {
          CHECK(Unmap(address, static_cast<int64_t>(begin)).ok());
        }
        return error;
      }
      begin = end;
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
    void* const got = ::mmap(address, Bytes(count), PROT_NONE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    if (got == MAP_FAILED) {
      return SystemError(ErrorCode::kFailedPrecondition, "cannot unmap KV pages");
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
    return ::mmap(target, Bytes(count), protection, MAP_SHARED | MAP_FIXED | MAP_POPULATE, file_,
                  Offset(first)) != MAP_FAILED;
  }

  const VmOptions options_;
  const int file_;
  std::byte* arena_ = nullptr;
  int64_t arena_bytes_ = 0;
};

}  // namespace

Result<std::unique_ptr<VmBackend>> MakeLinuxBackend(const VmOptions& options) {
  if (options.page_bytes < 1 || options.page_bytes % 4096 != 0 || options.max_pages < 1) {
    return MakeError(ErrorCode::kInvalidArgument, "a page must be a multiple of 4096 bytes");
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
