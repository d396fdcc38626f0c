// The ledger of a page pool: one word, so that any thread reads a consistent figure without a lock.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/check.h"

namespace causeway::memory {

// live + parked + free = total, at every instant.
struct BudgetPages {
  int64_t total = 0;
  int64_t live = 0;    // a sequence counts on them
  int64_t parked = 0;  // mapped, but nobody counts on them: taken back when pages run short
  int64_t free = 0;    // not mapped; most exist already, the rest is made on first use
};

// Written by the engine thread; Read() from any.
class Budget {
 public:
  explicit Budget(int64_t total) : total_(total) { CHECK(total > 0 && total <= UINT32_MAX); }

  // Moves pages between classes: `live` and `parked` grow by these (negative: shrink), free by the rest.
  void Change(int64_t live, int64_t parked) {
    const BudgetPages now = Read();
    const int64_t new_live = now.live + live;
    const int64_t new_parked = now.parked + parked;
    CHECK(new_live >= 0 && new_parked >= 0 && new_live + new_parked <= total_);
    packed_.store(static_cast<uint64_t>(new_live) << 32 | static_cast<uint64_t>(new_parked),
                  std::memory_order_relaxed);
  }

  BudgetPages Read() const {
    const uint64_t packed = packed_.load(std::memory_order_relaxed);
    const auto live = static_cast<int64_t>(packed >> 32);
    const auto parked = static_cast<int64_t>(packed & UINT32_MAX);
    return {total_, live, parked, total_ - live - parked};
  }

 private:
  const int64_t total_;
  std::atomic<uint64_t> packed_{0};  // live in the upper half, parked in the lower
};

}  // namespace causeway::memory
