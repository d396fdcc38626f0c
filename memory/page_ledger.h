// What each physical page is there for, and the budget that counts them (budget.h has the classes).
#pragma once

#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "memory/budget.h"
#include "memory/page_pool.h"

namespace causeway::memory {

// Owner: the engine thread; Read() and ReadTenant() may be called from any.
class PageLedger {
 public:
  // `pool` outlives the ledger. No tenants: one, without limits.
  PageLedger(const PagePool& pool, std::vector<TenantLimits> tenants);

  PageClass ClassOf(PageId page) const;
  TenantId TenantOf(PageId page) const { return uses_[page].tenant; }
  uint32_t live(PageId page) const { return uses_[page].live; }
  uint32_t pins(PageId page) const { return uses_[page].pins; }
  uint32_t moves(PageId page) const { return uses_[page].moves; }
  bool indexed(PageId page) const { return uses_[page].indexed; }

  // One more span, state or move counts on the page. A page that nobody is charged for becomes the tenant's.
  void AddLive(PageId page, TenantId tenant) { Add(page, tenant, &Use::live); }
  void AddPin(PageId page, TenantId tenant) {
    pinned_[tenant] += pins(page) == 0 ? 1 : 0;
    Add(page, tenant, &Use::pins);
  }
  void AddMove(PageId page, TenantId tenant) { Add(page, tenant, &Use::moves); }
  void DropLive(PageId page) { Drop(page, &Use::live); }
  void DropPin(PageId page) {
    const TenantId tenant = TenantOf(page);
    Drop(page, &Use::pins);
    pinned_[tenant] -= pins(page) == 0 ? 1 : 0;
  }
  void DropMove(PageId page) { Drop(page, &Use::moves); }
  void SetIndexed(PageId page, bool indexed);
  // To be called after references came or went; `before` is the class that the page had.
  void Moved(PageId page, PageClass before);

  // The part of the pool that may be used: grows or shrinks the free pages.
  void ChangeTotal(int64_t by) { budget_.ChangeTotal(by); }

  // Pages that `tenant` could be given: free, parked, its own cached ones, and those of others above their floors; all
  // within its quota.
  int64_t Available(TenantId tenant) const;
  // Whether a cached page of `owner` may go for the sake of `taker`.
  bool MayTake(TenantId taker, TenantId owner) const;
  // How many cached pages of its own a tenant has to give up to be charged for `pages` more; more than it has: its
  // quota does not allow them.
  int64_t OverQuota(TenantId tenant, int64_t pages) const;

  // Pages that states keep, live ones among them.
  int64_t pinned() const { return std::accumulate(pinned_.begin(), pinned_.end(), int64_t{0}); }
  int64_t pinned(TenantId tenant) const { return pinned_[tenant]; }

  std::span<const TenantLimits> tenants() const { return tenants_; }
  PageCounts Read() const { return budget_.Read(); }
  PageCounts ReadTenant(TenantId tenant) const { return budget_.ReadTenant(tenant); }
  void CheckInvariants() const;

 private:
  struct Use {
    uint32_t live = 0;
    uint32_t pins = 0;
    uint32_t moves = 0;
    TenantId tenant = kDefaultTenant;  // while charged
    bool indexed = false;
  };
  void Add(PageId page, TenantId tenant, uint32_t Use::*count);
  void Drop(PageId page, uint32_t Use::*count);

  const PagePool& pool_;
  const std::vector<TenantLimits> tenants_;
  std::vector<Use> uses_;        // [max_pages]
  std::vector<int64_t> pinned_;  // by tenant
  Budget budget_;
};

}  // namespace causeway::memory
