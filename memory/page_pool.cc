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
    : backend_(backend),
      references_(static_cast<size_t>(max_pages), 0),
      improved_(static_cast<size_t>(max_pages), false),
      limit_(max_pages),
      missing_(max_pages),
      making_(max_pages),
      free_(max_pages),
      plain_(max_pages) {
  CHECK(max_pages > 0 && max_pages <= UINT32_MAX);
  for (int64_t page = 0; page < max_pages; ++page) {
    missing_.Insert(static_cast<PageId>(page));
  }
}

PagePool::~PagePool() {
  CHECK_MSG(referenced() == 0, "{} pages are still referenced", referenced());
  CHECK_MSG(making() == 0, "{} pages are still being made", making());
}

PageRef PagePool::Take(PageId page) {
  free_.Erase(page);
  plain_.Discard(page);
  references_[page] = 1;
  return PageRef(this, page);
}

Result<void> PagePool::Acquire(int64_t count, PageId preferred, std::vector<PageRef>& pages) {
  if (count > Available()) {
    return MakeError(ErrorCode::kResourceExhausted, "no free KV pages");
  }
  if (preferred >= references_.size()) {
    preferred = 0;
  }
  // Create what is missing first: a failure here leaves only more free pages behind.
  for (PageId next = preferred; free_pages() < count;) {
    CHECK_MSG(created() + making() < limit_, "pages are being made that somebody needs now");
    next = missing_.NextFrom(next);
    TRY(backend_.Create(next));
    missing_.Erase(next);
    free_.Insert(next);
    plain_.Insert(next);
    improved_[next] = false;
  }
  for (PageId next = preferred; count > 0; --count) {
    next = free_.NextFrom(next);
    pages.push_back(Take(next));
  }
  return {};
}

bool PagePool::AcquireReady(PageId preferred, std::vector<PageRef>& pages) {
  if (free_pages() == 0) {
    return false;
  }
  pages.push_back(Take(free_.NextFrom(preferred >= references_.size() ? 0 : preferred)));
  return true;
}

Result<void> PagePool::Trim(int64_t keep) {
  while (free_pages() > keep) {
    const PageId page = free_.Last();
    TRY(backend_.Release(page));
    free_.Erase(page);
    plain_.Discard(page);
    missing_.Insert(page);
  }
  return {};
}

Result<void> PagePool::SetLimit(int64_t limit) {
  CHECK(limit >= referenced() + making() && limit <= max_pages());
  if (created() + making() > limit) {
    TRY(Trim(limit - referenced() - making()));
  }
  limit_ = limit;
  return {};
}

// ---- Making ahead ----------------------------------------------------------------------------------

PagePool::Run PagePool::BeginMaking(int64_t most) {
  Run run;
  if (missing_.size() == 0) {
    return run;
  }
  run.first = missing_.NextFrom(0);
  for (PageId page = run.first; run.count < most && created() + making() < limit_ && missing_.Has(page); ++page) {
    missing_.Erase(page);
    making_.Insert(page);
    ++run.count;
  }
  return run;
}

PagePool::Run PagePool::BeginImproving(int64_t most) {
  Run run;
  if (plain_.size() == 0) {
    return run;
  }
  run.first = plain_.NextFrom(0);
  for (PageId page = run.first; run.count < most && plain_.Has(page); ++page) {
    plain_.Erase(page);
    free_.Erase(page);
    making_.Insert(page);
    ++run.count;
  }
  return run;
}

void PagePool::EndMaking(const Run& run, int64_t exist) {
  for (int64_t i = 0; i < run.count; ++i) {
    const PageId page = run.first + static_cast<PageId>(i);
    making_.Erase(page);
    (i < exist ? free_ : missing_).Insert(page);
    improved_[page] = i < exist;
  }
}

void PagePool::Unreference(PageId page) {
  CHECK(references_[page] > 0);
  if (--references_[page] == 0) {
    free_.Insert(page);
    if (!improved_[page]) {
      plain_.Insert(page);
    }
  }
}

void PagePool::CheckInvariants() const {
  int64_t referenced_pages = 0;
  for (size_t id = 0; id < references_.size(); ++id) {
    const auto page = static_cast<PageId>(id);
    const int states = (references_[id] > 0 ? 1 : 0) + (missing_.Contains(page) ? 1 : 0) +
                       (making_.Contains(page) ? 1 : 0) + (free_.Contains(page) ? 1 : 0);
    CHECK_MSG(states == 1, "page {} is in {} states", page, states);
    CHECK(plain_.Contains(page) == (free_.Contains(page) && !improved_[id]));
    referenced_pages += references_[id] > 0 ? 1 : 0;
  }
  CHECK(missing_.size() + making_.size() + free_.size() + referenced_pages == max_pages());
  CHECK(created() + making() <= limit_);
}

}  // namespace causeway::memory
