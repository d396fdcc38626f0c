#include "memory/tier/tier_ledger.h"

#include <utility>

#include "base/check.h"

namespace causeway::memory {

TierLedger::TierLedger(int64_t capacity, const PageShare& others, std::unordered_map<TenantId, PageShare> shares)
    : capacity_(capacity), others_(others), shares_(std::move(shares)) {}

PageShare TierLedger::ShareOf(TenantId tenant) const {
  const auto it = shares_.find(tenant);
  return it == shares_.end() ? others_ : it->second;
}

TierLedger::Account& TierLedger::AccountOf(TenantId tenant) {
  const auto [it, added] = tenants_.try_emplace(tenant);
  if (added) {
    it->second.share = ShareOf(tenant);
  }
  return it->second;
}

int64_t TierLedger::Used(TenantId tenant) const {
  const auto it = tenants_.find(tenant);
  return it == tenants_.end() ? 0 : it->second.used;
}

TierLedger::Room TierLedger::FindRoom(TenantId tenant) const {
  const auto it = tenants_.find(tenant);
  const std::map<PageEntry::Use, PageEntry*>* own =
      it == tenants_.end() || it->second.order.empty() ? nullptr : &it->second.order;
  if (Used(tenant) >= ShareOf(tenant).max) {
    return own == nullptr ? Room{Answer::kQuota} : Room{Answer::kEvict, own->begin()->second};
  }
  if (used_ < capacity_) {
    return {};
  }
  if (own == nullptr && givers_.empty()) {
    return {Answer::kFull};
  }
  const bool from_own = givers_.empty() || (own != nullptr && own->begin()->first < givers_.begin()->first);
  return {Answer::kEvict, from_own ? own->begin()->second : givers_.begin()->second};
}

int32_t TierLedger::Acquire(TenantId tenant) {
  CHECK(used_ < capacity_);
  int32_t place = fresh_;
  if (freed_.empty()) {
    ++fresh_;
  } else {
    place = freed_.back();
    freed_.pop_back();
  }
  ++used_;
  Account& account = AccountOf(tenant);
  ++account.used;
  Refresh(account);
  return place;
}

void TierLedger::Release(int32_t place, TenantId tenant) {
  Account& account = AccountOf(tenant);
  CHECK(used_ > 0 && account.used > 0 && place >= 0 && place < fresh_);
  freed_.push_back(place);
  --used_;
  if (--account.used > 0) {
    return Refresh(account);
  }
  CHECK(account.order.empty());
  tenants_.erase(tenant);
}

void TierLedger::Restore(const std::vector<std::optional<TenantId>>& tenants) {
  CHECK(used_ == 0 && fresh_ == 0 && static_cast<int64_t>(tenants.size()) == capacity_);
  for (size_t place = tenants.size(); place-- > 0;) {
    if (tenants[place].has_value()) {
      ++AccountOf(*tenants[place]).used;
      ++used_;
    } else {
      freed_.push_back(static_cast<int32_t>(place));
    }
  }
  fresh_ = static_cast<int32_t>(capacity_);
}

void TierLedger::Offer(PageEntry& entry) {
  Account& account = AccountOf(entry.tenant);
  CHECK(account.order.emplace(entry.use(), &entry).second);
  Refresh(account);
}

void TierLedger::Withdraw(const PageEntry& entry) {
  Account& account = AccountOf(entry.tenant);
  CHECK(account.order.erase(entry.use()) == 1);
  Refresh(account);
}

void TierLedger::Refresh(Account& account) {
  if (account.given) {
    givers_.erase(*account.given);
    account.given.reset();
  }
  if (account.used > account.share.floor && !account.order.empty()) {
    account.given = account.order.begin()->first;
    givers_.emplace(*account.given, account.order.begin()->second);
  }
}

void TierLedger::CheckInvariants(int64_t places_taken) const {
  CHECK(used_ == places_taken && used_ <= capacity_);
  CHECK(used_ == fresh_ - static_cast<int64_t>(freed_.size()));
  int64_t sum = 0;
  size_t givers = 0;
  for (const auto& [tenant, account] : tenants_) {
    sum += account.used;
    CHECK(account.used > 0 && account.used <= account.share.max);
    CHECK(static_cast<int64_t>(account.order.size()) <= account.used);
    const bool gives = account.used > account.share.floor && !account.order.empty();
    CHECK(account.given.has_value() == gives);
    CHECK(!gives || (*account.given == account.order.begin()->first &&
                     givers_.at(*account.given) == account.order.begin()->second));
    givers += gives ? 1 : 0;
  }
  CHECK(sum == used_ && givers == givers_.size());
}

}  // namespace causeway::memory
