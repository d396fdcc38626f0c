// Virtual memory without a machine: every precondition checked, every call counted, failures on demand.
// For tests and simulations of whatever stands above VmBackend.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "memory/vm/vm_backend.h"

namespace causeway::memory {

enum class VmCall : uint8_t { kCreate, kRelease, kMap, kReplace, kProtect, kUnmap, kCopy, kRead, kWrite };
inline constexpr size_t kVmCalls = 9;

class MockBackend final : public VmBackend {
 public:
  // kNone: addresses are names, never to be dereferenced. kHeap: the arena is real memory, and a page's
  // bytes follow it from mapping to mapping.
  // A page that is mapped more than once must be read-only everywhere: each alias has a copy of its bytes.
  enum class Storage : uint8_t { kNone, kHeap };

  explicit MockBackend(const VmOptions& options, Storage storage = Storage::kNone)
      : options_(options), storage_(storage) {}

  using Call = VmCall;
  // The `nth` call of this kind from now on fails (1 is the next one).
  void FailNth(Call call, int nth) {
    const std::lock_guard lock(mutex_);
    fail_in_[static_cast<size_t>(call)] = nth;
  }
  // Calls of this kind so far, failed ones included.
  uint64_t calls(Call call) const {
    const std::lock_guard lock(mutex_);
    return calls_[static_cast<size_t>(call)];
  }
  void set_max_mappings(int64_t mappings) { max_mappings_ = mappings; }

  std::string_view name() const override { return "mock"; }
  int64_t granularity() const override { return 64; }
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
  int64_t PhysicalBytes() const override {
    const std::lock_guard lock(mutex_);
    return static_cast<int64_t>(created_.size()) * options_.page_bytes;
  }

  // What is mapped where, for the tests' own model. Not while another thread calls.
  struct Mapping {
    PageId page = 0;
    bool writable = false;
  };
  const std::map<std::byte*, Mapping>& mappings() const { return mappings_; }
  const std::set<PageId>& created() const { return created_; }

 private:
  Result<void> Count(Call call, const char* what);
  void MapOne(std::byte* target, PageId page, bool writable);
  void UnmapOne(std::byte* target);
  // Some mapping of a page, or null.
  std::byte* MappingOf(PageId page) const;
  void CheckRange(const std::byte* address, int64_t pages) const;
  std::byte* At(std::byte* address, int64_t page) const { return address + page * options_.page_bytes; }

  const VmOptions options_;
  const Storage storage_;
  int64_t max_mappings_ = std::numeric_limits<int64_t>::max();
  mutable std::mutex mutex_;             // guards all that follows
  std::array<int, kVmCalls> fail_in_{};  // 0: never
  std::array<uint64_t, kVmCalls> calls_{};
  std::byte* arena_ = nullptr;
  int64_t arena_bytes_ = 0;
  std::vector<std::byte> heap_;                        // kHeap: the arena
  std::map<PageId, std::vector<std::byte>> contents_;  // kHeap: pages that exist and are not mapped
  std::set<PageId> created_;
  std::map<std::byte*, Mapping> mappings_;
  std::map<PageId, std::set<std::byte*>> aliases_;  // where a mapped page is mapped
};

}  // namespace causeway::memory
