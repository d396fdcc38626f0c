// The class of every physical page, and the budget that counts them.
//
//   live     a span counts on it
//   cached   not live, and in the prefix index
//   parked   neither, but mapped
//   free     nobody has a reference to it
#pragma once

#include <cstdint>
#include <vector>

#include "memory/budget.h"
#include "memory/page_pool.h"

namespace causeway::memory {

// Owner: the engine thread; Read() may be called from any.
class PageLedger {
 public:
  enum class Class : uint8_t { kFree, kParked, kCached, kLive };

  // `pool` outlives the ledger.
  explicit PageLedger(const PagePool& pool)
      : pool_(pool), uses_(static_cast<size_t>(pool.max_pages())), budget_(pool.max_pages()) {}

  Class ClassOf(PageId page) const;
  uint32_t live(PageId page) const { return uses_[page].live; }
  bool indexed(PageId page) const { return uses_[page].indexed; }

  void AddLive(PageId page);  // one more span counts on it
  void DropLive(PageId page);
  void SetIndexed(PageId page, bool indexed);
  // To be called after references came or went; `before` is the class that the page had.
  void Moved(PageId page, Class before);

  BudgetPages Read() const { return budget_.Read(); }
  void CheckInvariants() const;

 private:
  struct Use {
    uint32_t live = 0;
    bool indexed = false;
  };

  const PagePool& pool_;
  std::vector<Use> uses_;  // [max_pages]
  Budget budget_;
};

}  // namespace causeway::memory
