// Virtual memory without a machine: real bytes nowhere, every precondition checked, failures on demand.
// For tests and simulations of whatever stands above VmBackend.
#pragma once

#include <cstdint>
#include <map>
#include <set>

#include "memory/vm/vm_backend.h"

namespace causeway::memory {

class MockBackend final : public VmBackend {
 public:
  explicit MockBackend(const VmOptions& options) : options_(options) {}

  enum class Call : uint8_t { kCreate, kRelease, kMap, kProtect, kUnmap };
  // The `nth` call of this kind from now on fails (1 is the next one).
  void FailNth(Call call, int nth) { failures_[call] = nth; }

  std::string_view name() const override { return "mock"; }
  int64_t granularity() const override { return 64; }
  Result<std::byte*> ReserveArena(int64_t bytes) override;
  Result<void> Create(PageId page) override;
  Result<void> Release(PageId page) override;
  Result<void> Map(std::byte* address, std::span<const PageId> pages, bool writable) override;
  Result<void> Protect(std::byte* address, int64_t count, bool writable) override;
  Result<void> Unmap(std::byte* address, int64_t count) override;
  int64_t PhysicalBytes() const override {
    return static_cast<int64_t>(created_.size()) * options_.page_bytes;
  }

  // Page mapped at an address, for the tests' own model.
  const std::map<std::byte*, PageId>& mappings() const { return mappings_; }
  const std::set<PageId>& created() const { return created_; }

 private:
  Result<void> MaybeFail(Call call, const char* what);
  void CheckRange(const std::byte* address, int64_t pages) const;

  const VmOptions options_;
  std::map<Call, int> failures_;
  std::byte* arena_ = nullptr;
  int64_t arena_bytes_ = 0;
  std::set<PageId> created_;
  std::map<std::byte*, PageId> mappings_;
};

}  // namespace causeway::memory
