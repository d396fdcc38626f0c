// The ledger of a page pool: one word, so that any thread reads a consistent figure without a lock.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/check.h"

namespace causeway::memory {

// live + parked + cached + free = total, at every instant.
struct BudgetPages {
  int64_t total = 0;
  int64_t live = 0;    // a sequence counts on them
  int64_t parked = 0;  // mapped, but nobody counts on them: taken back when pages run short
  int64_t cached = 0;  // hold a prefix that may be asked for again: likewise, after the parked ones
  int64_t free = 0;    // none of these; most exist already, the rest is made on first use
};

// Written by the engine thread; Read() from any.
class Budget {
 public:
  static constexpr int kBits = 21;
  static constexpr int64_t kMaxPages = (int64_t{1} << kBits) - 1;

  explicit Budget(int64_t total) : total_(total) { CHECK(total > 0 && total <= kMaxPages); }

  // Moves pages between classes: each grows by its number (negative: shrinks), free by the rest.
  void Change(int64_t live, int64_t parked, int64_t cached) {
    const BudgetPages now = Read();
    const int64_t new_live = now.live + live;
    const int64_t new_parked = now.parked + parked;
    const int64_t new_cached = now.cached + cached;
    CHECK(new_live >= 0 && new_parked >= 0 && new_cached >= 0);
    CHECK(new_live + new_parked + new_cached <= total_);
    packed_.store(static_cast<uint64_t>(new_live) << (2 * kBits) | static_cast<uint64_t>(new_parked) << kBits |
                      static_cast<uint64_t>(new_cached),
                  std::memory_order_relaxed);
  }

  BudgetPages Read() const {
    const uint64_t packed = packed_.load(std::memory_order_relaxed);
    const auto live = static_cast<int64_t>(packed >> (2 * kBits));
    const auto parked = static_cast<int64_t>(packed >> kBits & kMaxPages);
    const auto cached = static_cast<int64_t>(packed & kMaxPages);
    return {total_, live, parked, cached, total_ - live - parked - cached};
  }

 private:
  const int64_t total_;
  std::atomic<uint64_t> packed_{0};  // live, parked, cached, from the top
};

}  // namespace causeway::memory
