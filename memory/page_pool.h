// Counted physical pages: which exist, which are free, who holds one. Ids and counts only; bytes are the
// backend's.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "base/result.h"
#include "memory/page_set.h"
#include "memory/vm/vm_backend.h"

namespace causeway::memory {

class PagePool;

// One counted reference to a page; the last one gives it back to the pool. Owner: the engine thread.
class PageRef {
 public:
  PageRef() = default;
  PageRef(PageRef&& other) noexcept : pool_(std::exchange(other.pool_, nullptr)), page_(other.page_) {}
  PageRef& operator=(PageRef&& other) noexcept;
  ~PageRef() { Reset(); }

  PageId page() const { return page_; }
  // Another reference to the same page.
  PageRef Share() const;
  void Reset();

 private:
  friend class PagePool;
  PageRef(PagePool* pool, PageId page) : pool_(pool), page_(page) {}

  PagePool* pool_ = nullptr;
  PageId page_ = 0;
};

// Pages are created on first use or ahead of it, then recycled; none goes back to the system but by Trim(). A page is
// missing (not created), being made (another thread works on it), free, or referenced:
//   missing + making + free + referenced = max_pages;  making + free + referenced <= limit
class PagePool {
 public:
  PagePool(VmBackend& backend, int64_t max_pages);
  ~PagePool();  // dies if a reference is left
  PagePool(const PagePool&) = delete;
  PagePool& operator=(const PagePool&) = delete;

  // Appends `count` pages, in ascending order from `preferred` on where it can: neighbours merge into one mapping. All
  // or nothing: kResourceExhausted if the pool is dry, or the backend's error (pages that it had created by then stay,
  // free). Pages that are being made cannot be taken: the caller waits for them first.
  Result<void> Acquire(int64_t count, PageId preferred, std::vector<PageRef>& pages);
  // Takes one free page that exists; false if there is none.
  bool AcquireReady(PageId preferred, std::vector<PageRef>& pages);

  // Gives free pages back to the system until at most `keep` exist unreferenced.
  Result<void> Trim(int64_t keep);
  // Pages that may exist at once: at least those that do, free ones apart, and at most max_pages.
  Result<void> SetLimit(int64_t limit);

  // Neighbouring pages.
  struct Run {
    PageId first = 0;
    int64_t count = 0;
  };
  // Making pages ahead, or better, on another thread: at most `most` pages, which are nobody's until EndMaking. None:
  // nothing is left to do. A page is improved once, whether that helps or not.
  Run BeginMaking(int64_t most);
  Run BeginImproving(int64_t most);
  // The first `exist` of them are there, and have been improved.
  void EndMaking(const Run& run, int64_t exist);

  int64_t max_pages() const { return static_cast<int64_t>(references_.size()); }
  int64_t limit() const { return limit_; }
  int64_t making() const { return making_.size(); }
  int64_t created() const { return max_pages() - missing_.size() - making_.size(); }
  int64_t free_pages() const { return free_.size(); }
  int64_t referenced() const { return created() - free_pages(); }
  // Pages that Acquire could still hand out, once those in the making are made.
  int64_t Available() const { return limit_ - referenced(); }
  uint32_t References(PageId page) const { return references_[page]; }

  void CheckInvariants() const;

 private:
  friend class PageRef;
  void Unreference(PageId page);
  PageRef Take(PageId page);

  VmBackend& backend_;
  std::vector<uint32_t> references_;  // [max_pages]
  std::vector<bool> improved_;        // [max_pages]
  int64_t limit_;
  PageSet missing_;
  PageSet making_;
  PageSet free_;
  PageSet plain_;  // free ones that could be improved
};

}  // namespace causeway::memory
