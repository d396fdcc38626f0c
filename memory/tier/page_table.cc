#include "memory/tier/page_table.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace causeway::memory {

PageTable::PageTable(const PageTableOptions& options)
    : options_(options),
      host_(options.slots, options.host_others, options.host_shares),
      disk_(options.extents, options.disk_others, options.disk_shares),
      extents_(static_cast<size_t>(options.extents)),
      writable_(options.extents > 0) {
  CHECK(options.slots > 0 && options.slot_bytes > 0);
  CHECK(options.extents == 0 || options.max_queued > 0);
}

std::string_view PageLossName(PageLoss loss) {
  constexpr std::array<std::string_view, kPageLosses> kNames = {"full",        "quota",     "queue_full",  "unwritten",
                                                                "fill_failed", "key_clash", "disk_failed", "no_memory"};
  return kNames[static_cast<size_t>(loss)];
}

// ---- Bookkeeping -----------------------------------------------------------------------------------

// Changes where a page is or whether it may go: the one place that keeps the orders of eviction, frees a slot that only
// carried the page to the disk, and forgets a page that is nowhere. `entry` may be gone afterwards.
template <typename F>
void PageTable::Change(PageEntry& entry, F change) {
  const InTier before = Presence(entry);
  Withdraw(entry);
  change();
  if (!options_.host_tier && entry.slot != kNowhere && entry.MayGo()) {
    host_.Release(std::exchange(entry.slot, kNowhere), entry.tenant);
  }
  Offer(entry);
  if (const InTier after = Presence(entry); entry.place > 0 && after != before) {
    CountForParent(entry, before, after);
  }
  if (entry.MayGo() && !entry.Readable()) {
    CHECK(entry.extent == kNowhere && entry.waiting == 0);
    const Digest key = entry.key;  // erase may not read the key from what it destroys
    entries_.erase(key);
  }
}

PageTable::InTier PageTable::Presence(const PageEntry& entry) const {
  return {entry.slot != kNowhere ? 1 : 0, entry.extent != kNowhere ? 1 : 0};
}

bool PageTable::MayLeave(const PageEntry& entry, Tier tier) const {
  if (!entry.MayGo() || !(tier == Tier::kHost ? options_.host_tier && entry.slot != kNowhere : entry.on_disk)) {
    return false;
  }
  const auto children = children_.find(entry.key);
  return children == children_.end() || children->second[static_cast<size_t>(tier)] == 0;
}

void PageTable::Withdraw(const PageEntry& entry) {
  for (const Tier tier : {Tier::kHost, Tier::kDisk}) {
    if (MayLeave(entry, tier)) {
      Ledger(tier).Withdraw(entry);
    }
  }
}

void PageTable::Offer(PageEntry& entry) {
  for (const Tier tier : {Tier::kHost, Tier::kDisk}) {
    if (MayLeave(entry, tier)) {
      Ledger(tier).Offer(entry);
    }
  }
}

// A page is of no use without those in front of it, so a chain's end goes first, whatever was put or used last.
void PageTable::CountForParent(const PageEntry& entry, const InTier& before, const InTier& after) {
  PageEntry* const parent = Find(entry.parent);
  if (parent != nullptr) {
    Withdraw(*parent);
  }
  InTier& count = children_[entry.parent];
  for (size_t tier = 0; tier < kTiers; ++tier) {
    count[tier] += after[tier] - before[tier];
  }
  if (count == InTier{}) {
    children_.erase(entry.parent);
  }
  if (parent != nullptr) {
    parent->last_use = std::max(parent->last_use, entry.last_use);
    Offer(*parent);
  }
}

PageEntry* PageTable::Find(const Digest& key) {
  const auto it = entries_.find(key);
  return it == entries_.end() ? nullptr : &it->second;
}

bool PageTable::Matches(const PageEntry& entry, const PageIdentity& identity) const {
  return entry.parent == identity.parent && entry.place == identity.place &&
         std::equal(entry.tokens.begin(), entry.tokens.end(), identity.tokens.begin(), identity.tokens.end());
}

void PageTable::LeaveHost(PageEntry& entry) {
  Change(entry, [&] {
    host_.Release(std::exchange(entry.slot, kNowhere), entry.tenant);
    if (entry.waiting != 0) {
      waiting_.erase(std::exchange(entry.waiting, 0));
      Lose(PageLoss::kUnwritten);
    }
  });
}

void PageTable::LeaveDisk(PageEntry& entry) {
  Change(entry, [&] {
    entry.on_disk = false;
    extents_[static_cast<size_t>(entry.extent)] = nullptr;
    disk_.Release(std::exchange(entry.extent, kNowhere), entry.tenant);
  });
}

int32_t PageTable::TakePlace(Tier tier, TenantId tenant, PageEntry* parent) {
  TierLedger& ledger = Ledger(tier);
  if (parent != nullptr) {
    Change(*parent, [&] { ++parent->pins; });
  }
  const TierLedger::Room room = ledger.FindRoom(tenant);
  if (parent != nullptr) {
    Change(*parent, [&] { --parent->pins; });
  }
  switch (room.answer) {
    case TierLedger::Answer::kQuota: Lose(PageLoss::kQuota); return kNowhere;
    case TierLedger::Answer::kFull:
      Lose(tier == Tier::kHost && !options_.host_tier ? PageLoss::kQueueFull : PageLoss::kFull);
      return kNowhere;
    case TierLedger::Answer::kEvict:
      tier == Tier::kHost ? LeaveHost(*room.evict) : LeaveDisk(*room.evict);
      ++stats_.tiers[static_cast<size_t>(tier)].evictions;
      break;
    case TierLedger::Answer::kFree: break;
  }
  return ledger.Acquire(tenant);
}

// The page's slot will be written to `extent`, which was taken for it.
void PageTable::Queue(PageEntry& entry, int32_t extent) {
  Change(entry, [&] {
    entry.extent = extent;
    entry.writing = true;
  });
  extents_[static_cast<size_t>(extent)] = &entry;
  queue_.push_back({.entry = &entry, .slot = entry.slot, .extent = extent, .last_use = 0, .checksum = {}});
  work_.notify_one();
}

// Moves pages from the host tier's waiting line to the queue.
void PageTable::QueueWaiting() {
  while (writable_ && !waiting_.empty() && static_cast<int64_t>(queue_.size()) + under_way_ < options_.max_queued) {
    PageEntry& entry = *waiting_.begin()->second;
    waiting_.erase(waiting_.begin());
    entry.waiting = 0;
    PageEntry* const parent = entry.place > 0 ? Find(entry.parent) : nullptr;
    if (const int32_t extent = TakePlace(Tier::kDisk, entry.tenant, parent); extent != kNowhere) {
      Queue(entry, extent);
    }
  }
}

// ---- Putting and finding ---------------------------------------------------------------------------

PageTable::Claim PageTable::BeginPut(const PageIdentity& identity) {
  const std::lock_guard lock(mutex_);
  PageEntry* const entry = Find(identity.key);
  Claim claim{.action = Claim::Do::kRefuse};
  if (entry != nullptr && !Matches(*entry, identity)) {
    Lose(PageLoss::kKeyClash);
    return claim;
  }
  if (entry != nullptr && entry->Readable()) {
    ++stats_.touches;
    Change(*entry, [&] { entry->last_use = ++clock_; });
    claim.action = Claim::Do::kNothing;
    claim.known = true;
    if (entry->slot != kNowhere || !options_.host_tier) {
      return claim;
    }
    // It lies on disk alone, and the host tier is where a page belongs that was in use just now.
  }
  if (!options_.host_tier && !writable_) {
    Lose(PageLoss::kDiskFailed);
    return claim;
  }
  if (entry != nullptr) {
    Change(*entry, [&] { ++entry->pins; });
    claim.entry = entry;
  }
  // Who put a page first pays for it, whoever else comes with the same.
  claim.tenant = entry != nullptr ? entry->tenant : identity.tenant;
  PageEntry* const parent = identity.place > 0 ? Find(identity.parent) : nullptr;
  claim.slot = TakePlace(Tier::kHost, claim.tenant, parent);
  if (claim.slot != kNowhere && !options_.host_tier) {
    claim.extent = TakePlace(Tier::kDisk, claim.tenant, parent);
    if (claim.extent == kNowhere) {
      host_.Release(std::exchange(claim.slot, kNowhere), claim.tenant);
    }
  }
  if (claim.slot != kNowhere) {
    claim.action = Claim::Do::kFill;
  } else if (entry != nullptr) {
    Change(*entry, [&] { --entry->pins; });
  }
  return claim;
}

void PageTable::CommitPut(const PageIdentity& identity, const Claim& claim) {
  const std::lock_guard lock(mutex_);
  PageEntry* entry = claim.entry;
  if (entry == nullptr) {
    entry = &entries_[identity.key];
    entry->key = identity.key;
    entry->parent = identity.parent;
    entry->place = identity.place;
    entry->tenant = identity.tenant;
    entry->tokens.assign(identity.tokens.begin(), identity.tokens.end());
    entry->pins = 1;
    ++stats_.puts;
  }
  Change(*entry, [&] {
    entry->slot = claim.slot;
    entry->last_use = ++clock_;
  });
  if (claim.extent != kNowhere) {
    Queue(*entry, claim.extent);
  } else if (writable_ && entry->extent == kNowhere && entry->waiting == 0) {
    entry->waiting = entry->last_use;
    waiting_.emplace(entry->waiting, entry);
    QueueWaiting();
  }
  Change(*entry, [&] { --entry->pins; });
}

void PageTable::AbortPut(const Claim& claim, PageLoss why) {
  const std::lock_guard lock(mutex_);
  Lose(why);
  host_.Release(claim.slot, claim.tenant);
  if (claim.extent != kNowhere) {
    disk_.Release(claim.extent, claim.tenant);
  }
  if (claim.entry != nullptr) {
    Change(*claim.entry, [&] { --claim.entry->pins; });
  }
}

int64_t PageTable::Known(std::span<const Digest> keys, int64_t first, std::span<const Token> tokens,
                         int64_t most) const {
  const auto page = static_cast<size_t>(options_.tokens_per_page);
  const std::lock_guard lock(mutex_);
  int64_t known = 0;
  for (auto i = static_cast<size_t>(first); known < most && i < keys.size() && (i + 1) * page <= tokens.size(); ++i) {
    const auto it = entries_.find(keys[i]);
    if (it == entries_.end() || !it->second.Readable()) {
      break;
    }
    const PageEntry& entry = it->second;
    if ((i > 0 && entry.parent != keys[i - 1]) || entry.place != static_cast<int64_t>(i) ||
        !std::equal(entry.tokens.begin(), entry.tokens.end(), tokens.begin() + static_cast<ptrdiff_t>(i * page))) {
      break;
    }
    ++known;
  }
  return known;
}

// ---- Sources ---------------------------------------------------------------------------------------

std::vector<PageTable::Pinned> PageTable::Pin(std::span<const Digest> keys, int64_t first, int64_t count) {
  std::vector<Pinned> pages;
  const std::lock_guard lock(mutex_);
  for (auto i = static_cast<size_t>(first); i < keys.size() && static_cast<int64_t>(pages.size()) < count; ++i) {
    PageEntry* const entry = Find(keys[i]);
    if (entry == nullptr || !entry->Readable()) {
      break;
    }
    Change(*entry, [&] { ++entry->pins; });
    pages.push_back({entry, entry->slot, entry->extent, entry->checksum});
  }
  for (size_t i = pages.size(); i-- > 0;) {  // a chain's end goes before its beginning
    pages[i].entry->last_use = ++clock_;
  }
  return pages;
}

void PageTable::Unpin(std::span<const Pinned> pages) {
  const std::lock_guard lock(mutex_);
  for (const Pinned& page : pages) {
    CHECK(page.entry->pins > 0);
    Change(*page.entry, [&] { --page.entry->pins; });
  }
}

void PageTable::ReportRead(Tier tier, int64_t pages) {
  const std::lock_guard lock(mutex_);
  stats_.tiers[static_cast<size_t>(tier)].pages_read += pages;
}

void PageTable::ReportUnreadable(const Pinned& page, bool corrupt) {
  const std::lock_guard lock(mutex_);
  ++(corrupt ? stats_.corrupt : stats_.read_errors);
  if (page.entry->on_disk && page.entry->extent == page.extent) {  // else another source was here before
    LeaveDisk(*page.entry);
  }
}

// ---- Writing behind --------------------------------------------------------------------------------

PageTable::Work PageTable::WaitForWork(size_t most, Instant deadline) {
  std::unique_lock lock(mutex_);
  const auto ready = [&] { return !queue_.empty() || flushes_wanted_ > flushes_done_ || stop_; };
  if (deadline == kNever) {
    work_.wait(lock, ready);
  } else {
    work_.wait_until(lock, deadline, ready);
  }
  Work work;
  while (!queue_.empty() && work.jobs.size() < most) {
    work.jobs.push_back(queue_.front());
    work.jobs.back().last_use = queue_.front().entry->last_use;
    queue_.pop_front();
  }
  under_way_ += static_cast<int64_t>(work.jobs.size());
  if (work.jobs.empty()) {
    work.flush = flushes_wanted_ > flushes_done_ ? flushes_wanted_ : 0;
    work.stop = stop_ && work.flush == 0;
  }
  return work;
}

void PageTable::FinishWrites(std::span<const WriteJob> jobs) {
  const std::lock_guard lock(mutex_);
  for (const WriteJob& job : jobs) {
    PageEntry& entry = *job.entry;
    if (job.failed) {
      Lose(PageLoss::kDiskFailed);
      Change(entry, [&] {
        entry.writing = false;
        extents_[static_cast<size_t>(job.extent)] = nullptr;
        disk_.Release(std::exchange(entry.extent, kNowhere), entry.tenant);
      });
    } else {
      Change(entry, [&] {
        entry.writing = false;
        entry.on_disk = true;
        entry.checksum = job.checksum;
      });
    }
  }
  under_way_ -= static_cast<int64_t>(jobs.size());
  QueueWaiting();
}

void PageTable::FinishFlush(uint64_t flush) {
  const std::lock_guard lock(mutex_);
  flushes_done_ = flush;
  flushed_.notify_all();
}

void PageTable::SetWritable(bool writable) {
  const std::lock_guard lock(mutex_);
  writable_ = writable;
  if (writable) {
    return;
  }
  for (const auto& [order, entry] : waiting_) {
    entry->waiting = 0;
    Lose(PageLoss::kDiskFailed);
  }
  waiting_.clear();
}

void PageTable::ReportWriteError() {
  const std::lock_guard lock(mutex_);
  ++stats_.write_errors;
}

int64_t PageTable::OnDisk() const {
  const std::lock_guard lock(mutex_);
  return disk_.used();
}

void PageTable::CopyRecords(int64_t first, int64_t count, std::vector<PageRecord>& pages) const {
  const std::lock_guard lock(mutex_);
  const int64_t end = std::min(first + count, options_.extents);
  for (int64_t i = first; i < end; ++i) {
    const PageEntry* const entry = extents_[static_cast<size_t>(i)];
    if (entry != nullptr && entry->on_disk) {
      pages.push_back({entry->key, entry->parent, entry->place, entry->tenant, entry->extent, entry->last_use,
                       entry->checksum, entry->tokens});
    }
  }
}

// ---- Others ----------------------------------------------------------------------------------------

void PageTable::Restore(std::vector<PageRecord>& pages) {
  const std::lock_guard lock(mutex_);
  std::stable_sort(pages.begin(), pages.end(), [](const PageRecord& a, const PageRecord& b) {
    return std::pair(a.last_use, -a.place) < std::pair(b.last_use, -b.place);
  });
  std::unordered_map<TenantId, int64_t> used;
  std::vector<std::optional<TenantId>> tenants(extents_.size());
  std::vector<bool> fits(pages.size());
  for (size_t i = pages.size(); i-- > 0;) {  // the latest first
    const PageRecord& page = pages[i];
    const auto share = options_.disk_shares.find(page.tenant);
    const int64_t max = (share == options_.disk_shares.end() ? options_.disk_others : share->second).max;
    fits[i] = page.extent < options_.extents && used[page.tenant] < max;
    if (fits[i]) {
      ++used[page.tenant];
      tenants[static_cast<size_t>(page.extent)] = page.tenant;
    }
  }
  disk_.Restore(tenants);
  size_t kept = 0;
  for (size_t i = 0; i < pages.size(); ++i) {
    if (!fits[i]) {
      continue;
    }
    const PageRecord& page = pages[i];
    PageEntry& entry = entries_[page.key];
    entry = {.key = page.key,
             .parent = page.parent,
             .place = page.place,
             .tenant = page.tenant,
             .tokens = page.tokens,
             .extent = page.extent,
             .on_disk = true,
             .last_use = ++clock_,
             .checksum = page.checksum};
    extents_[static_cast<size_t>(page.extent)] = &entry;
    if (page.place > 0) {
      ++children_[page.parent][static_cast<size_t>(Tier::kDisk)];
    }
    if (kept != i) {
      pages[kept] = std::move(pages[i]);
    }
    ++kept;
  }
  pages.resize(kept);
  for (auto& [key, entry] : entries_) {
    Offer(entry);
  }
}

void PageTable::Flush() {
  std::unique_lock lock(mutex_);
  const uint64_t flush = ++flushes_wanted_;
  work_.notify_one();
  flushed_.wait(lock, [&] { return flushes_done_ >= flush; });
}

void PageTable::Stop() {
  const std::lock_guard lock(mutex_);
  stop_ = true;
  work_.notify_one();
}

PageStoreStats PageTable::Stats() const {
  const std::lock_guard lock(mutex_);
  PageStoreStats stats = stats_;
  stats.pages = static_cast<int64_t>(entries_.size());
  stats.queued_writes = static_cast<int64_t>(queue_.size() + waiting_.size()) + under_way_;
  stats.disk_writable = writable_;
  for (const Tier tier : {Tier::kHost, Tier::kDisk}) {
    if (tier == Tier::kDisk || options_.host_tier) {
      const TierLedger& ledger = tier == Tier::kHost ? host_ : disk_;
      TierStats& to = stats.tiers[static_cast<size_t>(tier)];
      to.capacity_bytes = ledger.capacity() * options_.slot_bytes;
      to.pages = ledger.used();
      to.bytes = ledger.used() * options_.slot_bytes;
      ledger.ForEachTenant(
          [&](TenantId tenant, int64_t pages) { to.tenant_bytes[tenant] = pages * options_.slot_bytes; });
    }
  }
  return stats;
}

void PageTable::CheckInvariants() const {
  const std::lock_guard lock(mutex_);
  int64_t slots = 0;
  int64_t extents = 0;
  int64_t writing = 0;
  size_t waiting = 0;
  std::unordered_map<Digest, InTier, DigestHash> children;
  for (const auto& [key, entry] : entries_) {
    CHECK(entry.key == key && static_cast<int64_t>(entry.tokens.size()) == options_.tokens_per_page);
    CHECK(entry.Readable() || !entry.MayGo());
    CHECK(!entry.writing || (entry.slot != kNowhere && entry.extent != kNowhere && !entry.on_disk));
    CHECK(!entry.on_disk || entry.extent != kNowhere);
    CHECK(entry.extent == kNowhere || extents_[static_cast<size_t>(entry.extent)] == &entry);
    CHECK(entry.waiting == 0 || (waiting_.at(entry.waiting) == &entry && entry.extent == kNowhere));
    slots += entry.slot != kNowhere ? 1 : 0;
    extents += entry.extent != kNowhere ? 1 : 0;
    writing += entry.writing ? 1 : 0;
    if (const InTier in = Presence(entry); entry.place > 0 && in != InTier{}) {
      children[entry.parent][0] += in[0];
      children[entry.parent][1] += in[1];
    }
    waiting += entry.waiting != 0 ? 1 : 0;
  }
  CHECK(children == children_ && waiting == waiting_.size());
  CHECK(writing == static_cast<int64_t>(queue_.size()) + under_way_ && writing <= options_.max_queued);
  host_.CheckInvariants(slots);
  disk_.CheckInvariants(extents);
}

}  // namespace causeway::memory
