#include "memory/page_pool.h"

#include <algorithm>

#include "base/check.h"

namespace causeway::memory {

PageRef::~PageRef() {
  if (pool_ != nullptr) {
    pool_->Unreference(page_);
  }
}

PageRef PageRef::Share() const {
  CHECK(pool_ != nullptr);
  ++pool_->references_[page_];
  return PageRef(pool_, page_);
}

PagePool::PagePool(VmBackend& backend, int64_t max_pages)
    : backend_(backend),
      references_(static_cast<size_t>(max_pages), 0),
      exists_(static_cast<size_t>(max_pages), false) {
  CHECK(max_pages > 0);
  free_.reserve(static_cast<size_t>(max_pages));
}

PagePool::~PagePool() { CHECK_MSG(referenced() == 0, "{} pages are still referenced", referenced()); }

Result<void> PagePool::Acquire(int64_t count, std::vector<PageRef>& pages) {
  if (count > Available()) {
    return MakeError(ErrorCode::kResourceExhausted, "no free KV pages");
  }
  // Create what is missing first: a failure here leaves only more free pages behind.
  for (size_t id = 0; free() < count && id < exists_.size(); ++id) {
    if (!exists_[id]) {
      TRY(backend_.Create(static_cast<PageId>(id)));
      exists_[id] = true;
      ++created_;
      free_.push_back(static_cast<PageId>(id));
    }
  }
  CHECK(free() >= count);
  // The lowest ids in ascending order: runs of neighbours map in one call.
  const auto wanted = free_.begin() + count;
  std::partial_sort(free_.begin(), wanted, free_.end());
  for (auto it = free_.begin(); it != wanted; ++it) {
    references_[*it] = 1;
    pages.push_back(PageRef(this, *it));
  }
  free_.erase(free_.begin(), wanted);
  return {};
}

Result<void> PagePool::Trim(int64_t keep) {
  while (free() > keep) {
    TRY(backend_.Release(free_.back()));
    exists_[free_.back()] = false;
    free_.pop_back();
    --created_;
  }
  return {};
}

void PagePool::Unreference(PageId page) {
  CHECK(references_[page] > 0);
  if (--references_[page] == 0) {
    free_.push_back(page);
  }
}

void PagePool::CheckInvariants() const {
  int64_t referenced_pages = 0;
  int64_t existing = 0;
  for (size_t id = 0; id < references_.size(); ++id) {
    referenced_pages += references_[id] > 0 ? 1 : 0;
    existing += exists_[id] ? 1 : 0;
    CHECK(references_[id] == 0 || exists_[id]);
  }
  CHECK(existing == created_);
  CHECK(referenced_pages + free() == created_);
  for (const PageId page : free_) {
    CHECK(references_[page] == 0 && exists_[page]);
  }
}

}  // namespace causeway::memory
