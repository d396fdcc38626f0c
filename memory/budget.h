// The ledger's sums: pages by class, of all and of each tenant. Read by any thread, without a lock.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include "base/check.h"
#include "memory/tenant.h"

namespace causeway::memory {

// What a page is there for; the last that applies counts.
enum class PageClass : uint8_t {
  kFree,    // nobody has a reference to it
  kParked,  // mapped, and nobody counts on it: taken back when pages run short
  kCached,  // holds a prefix that may be asked for again: likewise, after the parked ones
  kMoving,  // on its way: read from a tier or a file for somebody who waits
  kPinned,  // a state object keeps it
  kLive,    // a sequence counts on it
};
inline constexpr size_t kPageClasses = 6;

// total = the sum over the classes, at every instant.
struct PageCounts {
  std::array<int64_t, kPageClasses> of{};

  int64_t operator[](PageClass one) const { return of[static_cast<size_t>(one)]; }
  int64_t total() const { return std::accumulate(of.begin(), of.end(), int64_t{0}); }
  // Cannot be taken for others.
  int64_t held() const { return (*this)[PageClass::kLive] + (*this)[PageClass::kPinned] + (*this)[PageClass::kMoving]; }
  // What counts against a tenant's quota: free and parked pages are nobody's.
  int64_t charged() const { return held() + (*this)[PageClass::kCached]; }
};

// Written by the engine thread; Read() from any. A sequence lock (Boehm, "Can seqlocks get along with programming
// language memory models?", 2012): readers see the sums before or after a move, never between.
class Budget {
 public:
  static constexpr int64_t kMaxPages = (int64_t{1} << 31) - 1;

  Budget(int64_t total, size_t tenants) : rows_(tenants + 1) {
    CHECK(total > 0 && total <= kMaxPages && tenants > 0 && tenants <= kMaxTenants);
    CellOf(0, PageClass::kFree).store(total);
  }

  // One page changes its class. Its tenant: `before` while it was charged, `after` once it is.
  void Move(PageClass from, TenantId before, PageClass to, TenantId after) {
    const Writing writing(version_);
    Change(0, from, -1);
    Change(0, to, 1);
    if (IsCharged(from)) {
      Change(Row(before), from, -1);
    }
    if (IsCharged(to)) {
      Change(Row(after), to, 1);
    }
  }
  // Free pages come or go.
  void ChangeTotal(int64_t by) {
    const Writing writing(version_);
    Change(0, PageClass::kFree, by);
  }

  PageCounts Read() const { return ReadRow(0); }
  PageCounts ReadTenant(TenantId tenant) const { return ReadRow(Row(tenant)); }
  size_t tenants() const { return rows_.size() - 1; }

  static bool IsCharged(PageClass one) { return one != PageClass::kFree && one != PageClass::kParked; }

 private:
  using Counts = std::array<std::atomic<int64_t>, kPageClasses>;

  // Odd while a move is being written.
  class Writing {
   public:
    explicit Writing(std::atomic<uint64_t>& version) : version_(version) { Step(std::memory_order_relaxed); }
    ~Writing() { Step(std::memory_order_release); }
    Writing(const Writing&) = delete;
    Writing& operator=(const Writing&) = delete;

   private:
    void Step(std::memory_order order) { version_.store(version_.load(std::memory_order_relaxed) + 1, order); }
    std::atomic<uint64_t>& version_;
  };

  static size_t Row(TenantId tenant) { return size_t{tenant} + 1; }
  std::atomic<int64_t>& CellOf(size_t row, PageClass one) { return rows_[row][static_cast<size_t>(one)]; }
  void Change(size_t row, PageClass one, int64_t by) {
    std::atomic<int64_t>& cell = CellOf(row, one);
    const int64_t now = cell.load(std::memory_order_relaxed) + by;
    CHECK(now >= 0);
    cell.store(now, std::memory_order_release);  // not before the version turned odd
  }
  PageCounts ReadRow(size_t row) const {
    PageCounts counts;
    while (true) {
      const uint64_t before = version_.load(std::memory_order_acquire);
      for (size_t i = 0; i < kPageClasses; ++i) {
        counts.of[i] = rows_[row][i].load(std::memory_order_acquire);  // not after the version is read again
      }
      if (before % 2 == 0 && version_.load(std::memory_order_relaxed) == before) {
        return counts;
      }
    }
  }

  std::vector<Counts> rows_;  // of all, then of each tenant
  std::atomic<uint64_t> version_{0};
};

}  // namespace causeway::memory
