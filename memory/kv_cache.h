// The KV cache of a replica: contiguous virtual spans over pooled physical pages.
//
// Owner: the engine thread; Stats() and TenantStats() from any. memory/README.md tells the life of a page.
//
// Invariants, checked by CheckInvariants():
//   free + parked + cached + moving + pinned + live = budget, of all and of each tenant
//   references of a page = its mappings + its entry in the index + the job that moves it
//   a span's mapped pages are a prefix of its range, its live pages a prefix of the mapped ones
//   its sealed pages are a prefix too, all of them in the index; its others are mapped nowhere else
//   the sealed pages of a span in use are live, and its hold keeps them in the index
//   a trunk's live pages are those that the longest of its users begins with
//   mappings (runs of pages that are neighbours in range and pool) <= the backend's limit
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "memory/ghost_keys.h"
#include "memory/kv_cache_options.h"
#include "memory/kv_slot.h"
#include "memory/page_ledger.h"
#include "memory/prefix_index.h"
#include "memory/prefix_pin.h"
#include "memory/span.h"
#include "memory/vm/vm_backend.h"

namespace causeway::memory {

class KvCache {
 public:
  static Result<std::unique_ptr<KvCache>> Create(const KvCacheOptions& options, std::unique_ptr<VmBackend> backend,
                                                 KvCacheParts parts = {});
  ~KvCache();  // all spans, pins and restores must be gone
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  // ---- Spans (kv_cache.cc) ----

  // A span for a sequence that will soon hold `expected_positions`. The pages of the longest known prefix are in it
  // already, sealed and reserved; nothing else is. Prefers the parked range that has them mapped, then the one that
  // fits best. kResourceExhausted when all slots are taken.
  Result<Span> CreateSpan(int64_t expected_positions, const PrefixQuery& prefix = {});
  // Makes positions [0, positions) usable, those behind the sealed pages writable. All or nothing: on
  // kResourceExhausted (budget, quota, mappings) or any error of the backend every span is as it was; parked and cached
  // pages may have become free ones.
  Result<void> Reserve(Span& span, int64_t positions);
  // Whether Reserve could succeed for `pages` more pages of the tenant, parked and cached ones included.
  bool CanReserve(int64_t pages, TenantId tenant = kDefaultTenant) const;
  // Pages that one sequence of the tenant can have of a budget of `pages`: what others' floors leave, within its quota.
  int64_t RoomOf(TenantId tenant, int64_t pages) const;
  // Has pages up to `positions` mapped soon, off this thread, if free pages are at hand. Best effort: whoever needs
  // them earlier waits for them, and they stay up for taking.
  void MapAhead(Span& span, int64_t positions);
  // Takes over what other threads have done and gives them more to do: pages made ahead, tiers offered to. To be called
  // once a step, and when the wake of KvCacheParts calls. True: a restore or an offer made progress.
  bool Poll();
  // The executor has been given a step: what it reads must not be unmapped before it has ended.
  void StepSubmitted() { backend_->StepSubmitted(); }
  bool HasWork() const;  // Poll would offer pages to a tier right away
  void SetWake(std::function<void()> wake);

  // ---- Sharing (kv_sharing.cc) ----

  // The root of the keys of sequences whose KV depends on `scope` beside their tokens.
  Digest PrefixRoot(std::string_view scope) { return index_.Root(scope); }
  // Appends the keys of the full pages of `tokens` behind those that are there.
  void AppendPrefixKeys(const Digest& root, std::span<const Token> tokens, std::vector<Digest>& keys) {
    index_.AppendKeys(root, tokens, keys);
  }
  // Seals the span's first keys.size() pages, which are full, and makes them known; `tokens` are theirs. Where another
  // span was first, its page takes the place of this one's. Best effort: what cannot be sealed stays private.
  void Publish(Span& span, std::span<const Digest> keys, std::span<const Token> tokens);
  // Copies page `page` of `from` into `to`, where it is reserved and not sealed.
  Result<void> CopyPage(const Span& from, Span& to, int64_t page);
  // Keeps the span's sealed pages, for a state object.
  PrefixPin PinSealed(const Span& span);
  int64_t PinnedPages() const { return ledger_.pinned(); }  // live ones among them
  int64_t PinnedPages(TenantId tenant) const { return ledger_.pinned(tenant); }
  // Why the page behind the first `found` ones is not known.
  enum class Loss : uint8_t { kNever, kEvicted };
  Loss LossAt(const PrefixQuery& query, int64_t found) const;

  // ---- Tiers (kv_tiers.cc) ----

  // Begins to bring back what the tier has beyond the pages that are here. None: nothing, not worth it, or no room.
  std::optional<Restoring> Restore(const PrefixQuery& query);
  // Likewise with all of the query's, from a file. kResourceExhausted without room, kFailedPrecondition while asleep.
  Result<Restoring> Load(const PrefixQuery& query, std::unique_ptr<PageSource> source);
  // Any thread, while something pins the page.
  Result<void> ReadPage(PageId page, std::span<std::byte> to) const { return backend_->ReadPage(page, to); }
  // Tokens a second that a sequence's prompt is computed at.
  void SetComputeRate(double tokens_per_second) { compute_rate_ = tokens_per_second; }
  // Offers all that is cached or in use to a tier that survives, and waits until it is there.
  void Save();

  // ---- Size (kv_size.cc) ----

  // Unmaps what is parked and gives free pages back to the system; cached pages stay.
  Result<void> Trim();
  // Forgets every prefix that nobody holds. Tiers keep what they have.
  Result<void> DropPrefixes();
  // Lets the cache have this many pages from now on, at most max_pages. kResourceExhausted, and nothing changed but
  // that parked and cached pages went, while more are held.
  Result<void> Resize(int64_t pages);
  // Gives all memory back to the system; what is cached is offered to the tier first. kFailedPrecondition while a span,
  // a pin or a restore is there.
  Result<void> Sleep();
  // Takes as many pages as there were back, all or none (kResourceExhausted, still asleep).
  Result<void> Wake();
  bool asleep() const { return slept_pages_.has_value(); }

  const KvGeometry& geometry() const { return options_.geometry; }
  const KvCacheOptions& options() const { return options_; }
  const VmBackend& backend() const { return *backend_; }
  const PageTier* tier() const { return parts_.tier.get(); }
  KvCacheStats Stats() const;
  PageCounts TenantStats(TenantId tenant) const { return ledger_.ReadTenant(tenant); }
  std::span<const TenantLimits> tenants() const { return ledger_.tenants(); }
  void CheckInvariants() const;

 private:
  friend class Span;
  friend class PrefixPin;
  using Slot = KvSlot;

  KvCache(const KvCacheOptions& options, std::unique_ptr<VmBackend> backend, KvCacheParts parts, std::byte* arena);
  Slot& SlotOf(const Span& span) { return slots_[static_cast<size_t>(span.slot_)]; }
  std::byte* AddressOf(const Slot& slot, int64_t page) const;
  int64_t MappingLimit() const;
  Slot* BestParked(int64_t wanted_pages, std::span<const PageRef> prefix);
  void Park(Slot& slot);
  void SetLive(Slot& slot, int64_t live);
  void Settle(Slot& slot);  // waits for what is arriving
  void ReleaseRef(PageRef& page);
  // Frees pages until the tenant can be charged for `pages` more and so many are available.
  Result<void> MakeRoom(int64_t pages, TenantId tenant);
  Result<void> Reclaim(int64_t pages, TenantId tenant);
  // Takes parked pages from the ranges' tails until `pages` are available, or there are none.
  Result<void> ReclaimParked(int64_t pages);
  enum class Spill : bool { kNo, kYes };
  // False: nothing may go for the sake of `taker` (none: of anybody).
  Result<bool> EvictOne(std::optional<TenantId> taker, bool own_only, Spill spill = Spill::kYes);
  std::optional<DropReason> Offer(const PrefixIndex::View& page);  // none: the tier has it now
  bool IsWorthMoving();
  void SpillPage(const PrefixIndex::View& page);
  // Takes parked and surplus ranges, `growing` left alone, until `runs` more mappings are allowed.
  Result<void> Shed(int64_t runs, const Slot& growing);
  Result<void> MapMore(Slot& slot, int64_t count);
  Result<void> AcquirePages(int64_t count, PageId preferred, std::vector<PageRef>& pages);
  Result<Slot*> TakeRange(int64_t wanted_pages, std::span<const PageRef> prefix);
  Result<Slot*> TakeBehindTrunk(int64_t wanted_pages, std::span<const PageRef> prefix, TenantId tenant);
  Result<Slot*> TakeWhole(Slot& slot, std::span<const PageRef> prefix, TenantId tenant);
  Result<Slot*> GrowTrunk(std::span<const PageRef> prefix);
  Result<void> AddUser(Slot& trunk, int64_t pages, TenantId tenant);
  void DropUser(Slot& trunk);
  Result<void> MapPrefix(Slot& slot, std::span<const PageRef> prefix);
  Result<void> MapFrom(Slot& slot, size_t first, bool writable);
  Result<void> UnmapBehind(Slot& slot, int64_t kept);
  bool SealNext(Slot& slot, const Digest& key, std::span<const Token> tokens);
  bool TakeKnown(Slot& slot, const PageRef& known);
  void Arrived(AheadJob& job);
  void MakeReady();
  bool OfferNext();
  Result<std::shared_ptr<RestoreJob>> BeginRestore(const PrefixQuery& query, PrefixIndex::Hold hold,
                                                   std::vector<PageRef> known, std::unique_ptr<PageSource> source,
                                                   int64_t count);
  void Restored(RestoreJob& job);
  void PublishCounts();
  void CountJobs(std::vector<uint32_t>& references) const;

  const KvCacheOptions options_;
  const int64_t slot_bytes_;
  const std::unique_ptr<VmBackend> backend_;
  const KvCacheParts parts_;
  std::byte* const arena_;
  PagePool pool_;  // declared before all that have PageRefs
  PageLedger ledger_;
  PrefixIndex index_;  // declared before slots_, which have holds
  GhostKeys ghosts_;
  std::vector<Slot> slots_;
  int64_t spans_ = 0;                                  // in use
  std::vector<std::shared_ptr<AheadJob>> ahead_;       // in flight
  std::vector<std::shared_ptr<RestoreJob>> restores_;  // in flight
  std::vector<PageId> scratch_ids_;
  double compute_rate_ = 0;
  uint64_t not_worth_ = 0;
  bool keep_ready_ = false;             // pages were wanted since the last trim
  std::optional<int64_t> slept_pages_;  // that there were when the cache went to sleep
  int64_t mappings_ = 0;
  int64_t arriving_mappings_ = 0;  // at most

  KvCounters counters_;  // written by the owner, read by any thread
};

}  // namespace causeway::memory
