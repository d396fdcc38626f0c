// Counted physical pages: which exist, which are free, who holds one. Ids and counts only; bytes are the
// backend's.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "base/result.h"
#include "memory/vm/vm_backend.h"

namespace causeway::memory {

class PagePool;

// One counted reference to a page; the last one gives it back to the pool. Owner: the engine thread.
class PageRef {
 public:
  PageRef() = default;
  PageRef(PageRef&& other) noexcept : pool_(std::exchange(other.pool_, nullptr)), page_(other.page_) {}
  PageRef& operator=(PageRef&& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(page_, other.page_);
    return *this;
  }
  ~PageRef();

  PageId page() const { return page_; }
  // Another reference to the same page (sharing, a plan in flight).
  PageRef Share() const;

 private:
  friend class PagePool;
  PageRef(PagePool* pool, PageId page) : pool_(pool), page_(page) {}

  PagePool* pool_ = nullptr;
  PageId page_ = 0;
};

// Pages are created on first use up to `max_pages`, then recycled; none goes back to the system but by
// Trim(). Invariant: free + referenced = created <= max_pages.
class PagePool {
 public:
  PagePool(VmBackend& backend, int64_t max_pages);
  ~PagePool();  // dies if a reference is left
  PagePool(const PagePool&) = delete;
  PagePool& operator=(const PagePool&) = delete;

  // Appends `count` pages in ascending order where it can (neighbours merge into one mapping). All or
  // nothing: kResourceExhausted if the pool is dry, or the backend's error.
  Result<void> Acquire(int64_t count, std::vector<PageRef>& pages);

  // Gives free pages back to the system until at most `keep` exist unreferenced.
  Result<void> Trim(int64_t keep);

  int64_t max_pages() const { return static_cast<int64_t>(references_.size()); }
  int64_t created() const { return created_; }
  int64_t free() const { return static_cast<int64_t>(free_.size()); }
  int64_t referenced() const { return created_ - free(); }
  // Pages that Acquire could still hand out.
  int64_t Available() const { return max_pages() - referenced(); }
  uint32_t References(PageId page) const { return references_[page]; }

  void CheckInvariants() const;

 private:
  friend class PageRef;
  void Unreference(PageId page);

  VmBackend& backend_;
  std::vector<uint32_t> references_;  // [max_pages]
  std::vector<bool> exists_;          // [max_pages]
  std::vector<PageId> free_;          // created, unreferenced
  int64_t created_ = 0;
};

}  // namespace causeway::memory
