// Which pages are where in the tiers: the bookkeeping, without bytes, files or threads of its own.
//
// Every call is atomic (one lock, held for bookkeeping alone), so any thread may call; who calls what is said below.
// Invariants, checked by CheckInvariants():
//   a page is in memory, on disk, on its way there, or pinned; else it is unknown
//   a slot or an extent is one page's
//   a page may be pushed out of a tier  <=>  it is neither pinned nor being written, and none behind it is in that tier
//   queued writes + those under way <= max_queued
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "memory/tier/index_log.h"
#include "memory/tier/page_entry.h"
#include "memory/tier/page_store_stats.h"
#include "memory/tier/tier_ledger.h"

namespace causeway::memory {

struct PageTableOptions {
  int64_t tokens_per_page = 0;
  int64_t slot_bytes = 0;
  int64_t slots = 0;
  bool host_tier = false;  // slots keep pages; else they only carry them to the disk
  int64_t extents = 0;     // 0: no disk tier
  int64_t max_queued = 0;  // writes
  PageShare host_others, disk_others;
  std::unordered_map<TenantId, PageShare> host_shares, disk_shares;
};

class PageTable {
 public:
  explicit PageTable(const PageTableOptions& options);

  // ---- The engine thread: putting and finding.
  // What a Put must do: nothing, or fill the slot and then commit or abort.
  struct Claim {
    enum class Do : uint8_t { kNothing, kRefuse, kFill };
    Do action = Do::kNothing;
    int32_t slot = kNowhere;
    int32_t extent = kNowhere;   // without a host tier it is chosen before the bytes are copied
    PageEntry* entry = nullptr;  // pinned: it is there and has no slot
    TenantId tenant = 0;         // who pays for slot and extent
    bool known = false;          // it can be read, whatever becomes of this Put
  };
  Claim BeginPut(const PageIdentity& identity);
  void CommitPut(const PageIdentity& identity, const Claim& claim);
  void AbortPut(const Claim& claim, PageLoss why);
  // Of keys[first...], as PageStore::Known.
  int64_t Known(std::span<const Digest> keys, int64_t first, std::span<const Token> tokens, int64_t most) const;

  // ---- Sources: what a read needs stays as it is while the page is pinned.
  struct Pinned {
    PageEntry* entry = nullptr;
    int32_t slot = kNowhere;    // read it from here, or else
    int32_t extent = kNowhere;  // from here
    Checksum checksum;
  };
  // Of keys[first...], at most `count`; stops at the first that is not readable.
  std::vector<Pinned> Pin(std::span<const Digest> keys, int64_t first, int64_t count);  // engine thread
  void Unpin(std::span<const Pinned> pages);                                            // any thread
  void ReportRead(Tier tier, int64_t pages);                                            // any thread
  void ReportUnreadable(const Pinned& page, bool corrupt);  // the extent does not hold it; any thread

  // ---- The I/O thread.
  struct WriteJob {
    PageEntry* entry = nullptr;
    int32_t slot = kNowhere;
    int32_t extent = kNowhere;
    uint64_t last_use = 0;
    Checksum checksum;   // filled in by the writer
    bool failed = true;  // until the writer says otherwise
  };
  struct Work {
    std::vector<WriteJob> jobs;
    uint64_t flush = 0;  // there are no jobs, and this flush waits
    bool stop = false;   // nothing else is left
  };
  // At the deadline, if not before: work of nothing.
  Work WaitForWork(size_t most, Instant deadline);
  void FinishWrites(std::span<const WriteJob> jobs);
  void FinishFlush(uint64_t flush);
  void SetWritable(bool writable);  // false: the disk fails, nothing is queued for it
  void ReportWriteError();
  int64_t OnDisk() const;  // pages
  // Appends the pages on disk in extents [first, first + count).
  void CopyRecords(int64_t first, int64_t count, std::vector<PageRecord>& pages) const;

  // ---- Others.
  // Before anything else: pages of the last run, from which those that do not fit are taken out, the oldest first.
  void Restore(std::vector<PageRecord>& pages);
  void Flush();                  // waits until all that was put is on disk or given up; not the I/O thread
  void Stop();                   // the I/O thread's WaitForWork says so once all is written
  PageStoreStats Stats() const;  // any thread; rates are not this class's
  void CheckInvariants() const;

 private:
  template <typename F>
  void Change(PageEntry& entry, F change);
  PageEntry* Find(const Digest& key);
  using InTier = std::array<int32_t, kTiers>;  // by Tier
  InTier Presence(const PageEntry& entry) const;
  bool MayLeave(const PageEntry& entry, Tier tier) const;
  void Withdraw(const PageEntry& entry);
  void Offer(PageEntry& entry);
  void CountForParent(const PageEntry& entry, const InTier& before, const InTier& after);
  bool Matches(const PageEntry& entry, const PageIdentity& identity) const;
  // For a page behind `parent` (null: it has none here), which is not what goes for it. kNowhere: refused, and counted.
  int32_t TakePlace(Tier tier, TenantId tenant, PageEntry* parent);
  void LeaveHost(PageEntry& entry);
  void LeaveDisk(PageEntry& entry);
  void Queue(PageEntry& entry, int32_t extent);
  void QueueWaiting();
  void Lose(PageLoss loss) { ++stats_.losses[static_cast<size_t>(loss)]; }
  TierLedger& Ledger(Tier tier) { return tier == Tier::kHost ? host_ : disk_; }

  const PageTableOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable work_;     // for the I/O thread
  std::condition_variable flushed_;  // for Flush
  // Guarded by mutex_.
  std::unordered_map<Digest, PageEntry, DigestHash> entries_;  // nodes do not move
  std::unordered_map<Digest, InTier, DigestHash>
      children_;  // by the parent's key, be it known or not: how many are there
  TierLedger host_;
  TierLedger disk_;
  std::vector<PageEntry*> extents_;         // [extents]: whose it is, or null
  std::map<uint64_t, PageEntry*> waiting_;  // pages in host memory that the write queue had no room for, oldest first
  std::deque<WriteJob> queue_;
  int64_t under_way_ = 0;  // writes
  uint64_t clock_ = 0;     // counts uses
  uint64_t flushes_wanted_ = 0;
  uint64_t flushes_done_ = 0;
  bool writable_;
  bool stop_ = false;
  PageStoreStats stats_;  // the counters of it
};

}  // namespace causeway::memory
