// The seam to virtual memory. Everything above is backend-free and tested on the mock with injected
// failures. An arena is one reserved virtual range; a page id names one physical page of the pool.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace causeway::memory {

using PageId = uint32_t;

// Any thread; calls that concern the same page or overlapping ranges are the caller's to order. Every call that fails
// (but Replace and WritePage) leaves the state as it was before.
class VmBackend {
 public:
  virtual ~VmBackend() = default;

  virtual std::string_view name() const = 0;
  // The name and what memory the pages are made of, for the start log: one line.
  virtual std::string Describe() const { return std::string(name()); }
  // Page sizes must be a multiple of this (4096 on Linux, 2 MiB on CUDA).
  virtual int64_t granularity() const = 0;
  // How many mappings (runs of pages that are neighbours in the arena and in the pool, and the holes
  // between them) the system lets this process have.
  virtual int64_t MaxMappings() const { return std::numeric_limits<int64_t>::max(); }

  // Reserves `bytes` of address space, unmapped and inaccessible; released with the backend.
  virtual Result<std::byte*> ReserveArena(int64_t bytes) = 0;
  // Makes physical page `page` exist, backed and prefaulted, so that no later access can fault.
  virtual Result<void> Create(PageId page) = 0;
  // Gives the page's memory back to the system. It must not be mapped.
  virtual Result<void> Release(PageId page) = 0;
  // Maps pages[i] at address + i * page_bytes, all or none. The range must be unmapped.
  virtual Result<void> Map(std::byte* address, std::span<const PageId> pages, bool writable) = 0;
  // Maps another page where one is mapped. The one call that may change something when it fails: there may be no page
  // then, and Replace by the old one mends it.
  virtual Result<void> Replace(std::byte* address, PageId page, bool writable) = 0;
  // Changes access of `count` mapped pages from `address` on, all of which have the other access.
  virtual Result<void> Protect(std::byte* address, int64_t count, bool writable) = 0;
  // Unmaps `count` pages from `address` on.
  virtual Result<void> Unmap(std::byte* address, int64_t count) = 0;
  // Copies a mapped page's bytes to another one, which is writable.
  virtual Result<void> Copy(std::byte* to, const std::byte* from) = 0;
  // Reads or writes a page's bytes [page_bytes] by its id, mapped or not. Nobody may write the page meanwhile, nor read
  // what is being written.
  virtual Result<void> ReadPage(PageId page, std::span<std::byte> to) = 0;
  virtual Result<void> WritePage(PageId page, std::span<const std::byte> from) = 0;
  // Makes `count` neighbouring pages that exist cheap to map (huge pages), where the system can; their bytes stay, and
  // so do their mappings. Takes milliseconds a call and little for each page more. False: some are as they were.
  virtual bool ImproveRun(PageId /*first*/, int64_t /*count*/) { return false; }
  bool Improve(PageId page) { return ImproveRun(page, 1); }
  // The engine has submitted a step. Where steps run beside the host, Unmap, Replace, Protect and Release wait for the
  // last one submitted; where a step has ended when the engine goes on, there is nothing to wait for.
  virtual void StepSubmitted() {}
  // Bytes of physical memory held, as the system itself counts them.
  virtual int64_t PhysicalBytes() const = 0;
};

// What the Linux backend makes its pages of. Huge ones need a page size that is a multiple of 2 MiB.
enum class HugePages : uint8_t {
  kAuto,      // kHugetlb where enough are set aside, else kCollapse
  kHugetlb,   // pages that the administrator set aside (vm.nr_hugepages); an error where they are too few
  kCollapse,  // ordinary memory that Improve makes huge, as long as the kernel can
  kNever,     // ordinary memory as it comes
};

struct VmOptions {
  int64_t page_bytes = 0;
  int64_t max_pages = 0;
  HugePages huge_pages = HugePages::kAuto;
};

// memfd + mmap (Linux). Pages are prefaulted with an errno, never a SIGBUS. kInvalidArgument: sizes;
// kFailedPrecondition or kResourceExhausted: the system has no such memory.
Result<std::unique_ptr<VmBackend>> MakeLinuxBackend(const VmOptions& options);

}  // namespace causeway::memory
