#include "memory/page_ledger.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace causeway::memory {

PageLedger::PageLedger(const PagePool& pool, std::vector<TenantLimits> tenants)
    : pool_(pool),
      tenants_(tenants.empty() ? std::vector<TenantLimits>(1) : std::move(tenants)),
      uses_(static_cast<size_t>(pool.max_pages())),
      pinned_(tenants_.size()),
      budget_(pool.max_pages(), tenants_.size()) {}

PageClass PageLedger::ClassOf(PageId page) const {
  const Use& use = uses_[page];
  if (use.live > 0) {
    return PageClass::kLive;
  }
  if (use.pins > 0) {
    return PageClass::kPinned;
  }
  if (use.moves > 0) {
    return PageClass::kMoving;
  }
  if (use.indexed) {
    return PageClass::kCached;
  }
  return pool_.References(page) > 0 ? PageClass::kParked : PageClass::kFree;
}

void PageLedger::Add(PageId page, TenantId tenant, uint32_t Use::*count) {
  const PageClass before = ClassOf(page);
  Use& use = uses_[page];
  CHECK_MSG(!Budget::IsCharged(before) || use.tenant == tenant, "two tenants share page {}", page);
  use.tenant = tenant;
  ++(use.*count);
  Moved(page, before);
}

void PageLedger::Drop(PageId page, uint32_t Use::*count) {
  const PageClass before = ClassOf(page);
  CHECK(uses_[page].*count > 0);
  --(uses_[page].*count);
  Moved(page, before);
}

void PageLedger::SetIndexed(PageId page, bool indexed) {
  const PageClass before = ClassOf(page);
  CHECK(Budget::IsCharged(before));
  uses_[page].indexed = indexed;
  Moved(page, before);
}

void PageLedger::Moved(PageId page, PageClass before) {
  const PageClass now = ClassOf(page);
  if (now != before) {
    budget_.Move(before, TenantOf(page), now, TenantOf(page));
  }
}

// ---- Limits ----------------------------------------------------------------------------------------

bool PageLedger::MayTake(TenantId taker, TenantId owner) const {
  return owner == taker || ReadTenant(owner).charged() > tenants_[owner].floor_pages;
}

int64_t PageLedger::OverQuota(TenantId tenant, int64_t pages) const {
  return std::max<int64_t>(0, ReadTenant(tenant).charged() + pages - tenants_[tenant].quota_pages);
}

int64_t PageLedger::Available(TenantId tenant) const {
  const PageCounts all = Read();
  int64_t available = all[PageClass::kFree] + all[PageClass::kParked];
  for (size_t i = 0; i < tenants_.size(); ++i) {
    const PageCounts counts = tenants_.size() == 1 ? all : ReadTenant(static_cast<TenantId>(i));
    const int64_t cached = counts[PageClass::kCached];
    available += i == tenant ? cached : std::clamp<int64_t>(counts.charged() - tenants_[i].floor_pages, 0, cached);
  }
  return std::min(available, tenants_[tenant].quota_pages - ReadTenant(tenant).held());
}

void PageLedger::CheckInvariants() const {
  PageCounts counted;
  std::vector<PageCounts> of_tenants(tenants_.size());
  for (int64_t id = 0; id < pool_.max_pages(); ++id) {
    const auto page = static_cast<PageId>(id);
    const auto one = static_cast<size_t>(ClassOf(page));
    ++counted.of[one];
    if (Budget::IsCharged(ClassOf(page))) {
      ++of_tenants[TenantOf(page)].of[one];
    }
  }
  const PageCounts kept = Read();
  const auto free = static_cast<size_t>(PageClass::kFree);
  counted.of[free] = kept.of[free];  // pages that the budget leaves out are free ones
  CHECK(counted.of == kept.of);
  for (size_t i = 0; i < tenants_.size(); ++i) {
    CHECK(of_tenants[i].of == ReadTenant(static_cast<TenantId>(i)).of);
  }
}

}  // namespace causeway::memory
