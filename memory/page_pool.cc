#include "memory/page_pool.h"

#include "base/check.h"

namespace causeway::memory {

PageRef& PageRef::operator=(PageRef&& other) noexcept {
  if (this != &other) {
    Reset();
    pool_ = std::exchange(other.pool_, nullptr);
    page_ = other.page_;
  }
  return *this;
}

void PageRef::Reset() {
  if (PagePool* const pool = std::exchange(pool_, nullptr)) {
    pool->Unreference(page_);
  }
}

PageRef PageRef::Share() const {
  CHECK(pool_ != nullptr && pool_->references_[page_] < UINT32_MAX);
  ++pool_->references_[page_];
  return PageRef(pool_, page_);
}

PagePool::PagePool(VmBackend& backend, int64_t max_pages)
    : backend_(backend), references_(static_cast<size_t>(max_pages), 0), missing_(max_pages), free_(max_pages) {
  CHECK(max_pages > 0 && max_pages <= UINT32_MAX);
  for (int64_t page = 0; page < max_pages; ++page) {
    missing_.Insert(static_cast<PageId>(page));
  }
}

PagePool::~PagePool() { CHECK_MSG(referenced() == 0, "{} pages are still referenced", referenced()); }

Result<void> PagePool::Acquire(int64_t count, PageId preferred, std::vector<PageRef>& pages) {
  if (count > Available()) {
    return MakeError(ErrorCode::kResourceExhausted, "no free KV pages");
  }
  if (preferred >= references_.size()) {
    preferred = 0;
  }
  // Create what is missing first: a failure here leaves only more free pages behind.
  for (PageId next = preferred; free_pages() < count;) {
    next = missing_.NextFrom(next);
    TRY(backend_.Create(next));
    missing_.Erase(next);
    free_.Insert(next);
  }
  for (PageId next = preferred; count > 0; --count) {
    next = free_.NextFrom(next);
    free_.Erase(next);
    references_[next] = 1;
    pages.push_back(PageRef(this, next));
  }
  return {};
}

Result<void> PagePool::Trim(int64_t keep) {
  while (free_pages() > keep) {
    const PageId page = free_.Last();
    TRY(backend_.Release(page));
    free_.Erase(page);
    missing_.Insert(page);
  }
  return {};
}

void PagePool::Unreference(PageId page) {
  CHECK(references_[page] > 0);
  if (--references_[page] == 0) {
    free_.Insert(page);
  }
}

void PagePool::CheckInvariants() const {
  int64_t referenced_pages = 0;
  for (size_t id = 0; id < references_.size(); ++id) {
    const auto page = static_cast<PageId>(id);
    const int states =
        (references_[id] > 0 ? 1 : 0) + (missing_.Contains(page) ? 1 : 0) + (free_.Contains(page) ? 1 : 0);
    CHECK_MSG(states == 1, "page {} is in {} states", page, states);
    referenced_pages += references_[id] > 0 ? 1 : 0;
  }
  CHECK(missing_.size() + free_.size() + referenced_pages == max_pages());
}

}  // namespace causeway::memory
