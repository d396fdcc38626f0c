// Who has how many pages in a tier, and whose page goes when another needs its place.
//
// Owner: PageTable, under its lock. Invariants:
//   used + free places = capacity           used = the tenants' pages, summed
//   a tenant's pages <= its quota           pages of others never make a tenant fall below its floor
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <unordered_map>
#include <vector>

#include "memory/tenant.h"
#include "memory/tier/page_entry.h"

namespace causeway::memory {

// Of one tenant in one tier, in pages.
struct PageShare {
  int64_t max = 0;    // never more than this
  int64_t floor = 0;  // pages of others do not push out the last `floor`
};

class TierLedger {
 public:
  // Places are numbered [0, capacity).
  TierLedger(int64_t capacity, const PageShare& others, std::unordered_map<TenantId, PageShare> shares);

  // What one more page of a tenant needs: a free place (nothing to do), or that `evict` goes first.
  enum class Answer : uint8_t { kFree, kEvict, kQuota, kFull };
  struct Room {
    Answer answer = Answer::kFree;
    PageEntry* evict = nullptr;
  };
  Room FindRoom(TenantId tenant) const;

  // A free place, which there must be. The lowest that was never used, or the one that was freed last.
  int32_t Acquire(TenantId tenant);
  void Release(int32_t place, TenantId tenant);
  // Takes the places, all of them free, for one page each of the tenants; used once, before anything else.
  void Restore(const std::vector<std::optional<TenantId>>& tenants);

  // Whether the page may be pushed out, from now on; its use() must not change in between.
  void Offer(PageEntry& entry);
  void Withdraw(const PageEntry& entry);

  int64_t capacity() const { return capacity_; }
  int64_t used() const { return used_; }
  int64_t Used(TenantId tenant) const;
  template <typename Visit>  // Visit(tenant, pages)
  void ForEachTenant(Visit visit) const {
    for (const auto& [tenant, account] : tenants_) {
      visit(tenant, account.used);
    }
  }
  // What the entries say: how many places are taken.
  void CheckInvariants(int64_t places_taken) const;

 private:
  struct Account {
    PageShare share;
    int64_t used = 0;
    std::map<PageEntry::Use, PageEntry*> order;  // the pages on offer
    std::optional<PageEntry::Use> given;         // its key in givers_
  };

  PageShare ShareOf(TenantId tenant) const;
  Account& AccountOf(TenantId tenant);
  void Refresh(Account& account);

  const int64_t capacity_;
  const PageShare others_;
  const std::unordered_map<TenantId, PageShare> shares_;
  int64_t used_ = 0;
  int32_t fresh_ = 0;                              // places from here on were never used
  std::vector<int32_t> freed_;                     // places before it that are free
  std::unordered_map<TenantId, Account> tenants_;  // those that have pages
  std::map<PageEntry::Use, PageEntry*> givers_;    // the oldest page on offer of each tenant above its floor
};

}  // namespace causeway::memory
