// The KV cache of a replica: contiguous virtual spans over pooled physical pages.
//
// Owner: the engine thread. Stats() may be read from any thread.
//
// A span is a slot of the arena: one contiguous range long enough for a whole context, of which a prefix
// is mapped. A freed span is parked still mapped and adopted whole by the next sequence, so that in steady
// state no mapping call is made. A sequence is charged for the pages it counts on; whatever else its range
// has mapped is parked too, and goes when pages run short.
//
// Full pages that will not change can be published: they are sealed (read-only from then on) and enter the
// prefix index, and later spans with the same prefix map the same pages. What nobody counts on any more
// stays cached until pages run short.
//
// Invariants, checked by CheckInvariants():
//   live + parked + cached + free = budget;  references of a page = its mappings + its entry in the index
//   a span's mapped pages are a prefix of its range, its live pages a prefix of the mapped ones
//   its sealed pages are a prefix too, all of them in the index; its others are mapped nowhere else
//   the sealed pages of a span in use are live, and its hold keeps them in the index
//   mappings (runs of pages that are neighbours in range and pool) <= the backend's limit
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/keyed_hash.h"
#include "base/result.h"
#include "base/token.h"
#include "memory/kv_geometry.h"
#include "memory/page_ledger.h"
#include "memory/page_pool.h"
#include "memory/prefix_index.h"
#include "memory/span.h"
#include "memory/vm/vm_backend.h"

namespace causeway::memory {

struct KvCacheOptions {
  KvGeometry geometry;
  int64_t max_pages = 0;           // the budget
  int64_t max_spans = 0;           // sequences that hold KV at once
  int64_t positions_per_span = 0;  // the longest context
  Digest prefix_key{};             // of the prefix index; RandomKey() where clients must not guess keys
};

// The beginning of a sequence, as the prefix index knows it.
struct PrefixQuery {
  std::span<const Digest> keys;   // of its full pages (AppendPrefixKeys)
  std::span<const Token> tokens;  // at least those pages' tokens
  int64_t max_pages = 0;          // to share at most
};

// live + parked + cached + free = budget (pages not yet created count as free).
struct KvCacheStats {
  int64_t budget_pages = 0;
  int64_t live_pages = 0;     // reserved by sequences
  int64_t parked_pages = 0;   // mapped and up for taking
  int64_t cached_pages = 0;   // hold a known prefix, and up for taking after those
  int64_t created_pages = 0;  // physical pages that exist; times page_bytes: what the system counts
  int64_t page_bytes = 0;
  int64_t mappings = 0;  // runs of pages mapped
  uint64_t map_calls = 0;
  uint64_t unmap_calls = 0;

  int64_t free_pages() const { return budget_pages - live_pages - parked_pages - cached_pages; }
  double usage() const {
    return budget_pages == 0 ? 0.0 : static_cast<double>(live_pages) / static_cast<double>(budget_pages);
  }
};

class KvCache {
 public:
  static Result<std::unique_ptr<KvCache>> Create(const KvCacheOptions& options, std::unique_ptr<VmBackend> backend);
  ~KvCache();  // all spans must be gone
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  // A span for a sequence that will soon hold `expected_positions`. The pages of the longest known prefix are
  // in it already, sealed and reserved; nothing else is. Prefers the parked range that has them mapped, then
  // the one that fits best. kResourceExhausted when all slots are taken.
  Result<Span> CreateSpan(int64_t expected_positions, const PrefixQuery& prefix = {});

  // Makes positions [0, positions) usable, those behind the sealed pages writable. All or nothing: on
  // kResourceExhausted (budget, mappings) or any error of the backend every span is as it was; parked and
  // cached pages may have become free ones.
  Result<void> Reserve(Span& span, int64_t positions);

  // Whether Reserve could succeed for `pages` more pages, parked and cached ones included.
  bool CanReserve(int64_t pages) const;

  // The root of the keys of sequences whose KV depends on `scope` beside their tokens.
  Digest PrefixRoot(std::string_view scope) { return index_.Root(scope); }
  // Appends the keys of the full pages of `tokens` behind those that are there.
  void AppendPrefixKeys(const Digest& root, std::span<const Token> tokens, std::vector<Digest>& keys) {
    index_.AppendKeys(root, tokens, keys);
  }
  // Seals the span's first keys.size() pages, which are full, and makes them known; `tokens` are theirs. Where
  // another span was first, its page takes the place of this one's: equal tokens have equal bytes. Best
  // effort: what cannot be sealed stays private.
  void Publish(Span& span, std::span<const Digest> keys, std::span<const Token> tokens);

  // Copies page `page` of `from` into `to`, where it is reserved and not sealed.
  Result<void> CopyPage(const Span& from, Span& to, int64_t page);

  // Unmaps what is parked and gives free pages back to the system; cached pages stay.
  Result<void> Trim();
  // Forgets every prefix that no span in use has sealed.
  Result<void> DropPrefixes();

  const KvGeometry& geometry() const { return options_.geometry; }
  const KvCacheOptions& options() const { return options_; }
  const VmBackend& backend() const { return *backend_; }
  KvCacheStats Stats() const;
  void CheckInvariants() const;

 private:
  friend class Span;
  struct Slot {
    std::vector<PageRef> pages;  // mapped: a prefix of the range
    int64_t live = 0;            // of these, reserved by the span's owner
    int64_t sealed = 0;          // of these, in the index
    PrefixIndex::Hold hold;      // of the last sealed one, while the span is in use
    bool taken = false;
    bool publishes = true;  // until a page could not be sealed

    int64_t mapped() const { return static_cast<int64_t>(pages.size()); }
  };

  KvCache(const KvCacheOptions& options, std::unique_ptr<VmBackend> backend, std::byte* arena);
  Slot& SlotOf(const Span& span) { return slots_[static_cast<size_t>(span.slot_)]; }
  std::byte* AddressOf(const Slot& slot, int64_t page) const;
  Slot* BestParked(int64_t wanted_pages, std::span<const PageRef> prefix);
  void Park(Slot& slot);
  void SetLive(Slot& slot, int64_t live);

  // Takes parked pages from the ranges' tails, then cached ones, until `pages` are available.
  Result<void> Reclaim(int64_t pages);
  Result<void> ReclaimParked(int64_t pages);
  Result<bool> EvictOne();  // false: nothing may go
  // Takes parked and surplus ranges, `growing` left alone, until `runs` more mappings are allowed.
  Result<void> Shed(int64_t runs, const Slot& growing);
  Result<void> MapMore(Slot& slot, int64_t count);
  Result<void> MapPrefix(Slot& slot, std::vector<PageRef> prefix);
  Result<void> MapFrom(Slot& slot, size_t first, bool writable);
  Result<void> UnmapTail(Slot& slot, int64_t count);
  bool SealNext(Slot& slot, const Digest& key, std::span<const Token> tokens);
  bool TakeKnown(Slot& slot, const PageRef& known);

  const KvCacheOptions options_;
  const int64_t slot_bytes_;
  const std::unique_ptr<VmBackend> backend_;
  std::byte* const arena_;
  PagePool pool_;  // declared before all that have PageRefs
  PageLedger ledger_;
  PrefixIndex index_;  // declared before slots_, which have holds
  std::vector<Slot> slots_;
  std::vector<PageId> scratch_ids_;

  // Written by the owner, read by any thread.
  std::atomic<int64_t> created_pages_{0};
  std::atomic<int64_t> mappings_{0};
  std::atomic<uint64_t> map_calls_{0};
  std::atomic<uint64_t> unmap_calls_{0};
};

}  // namespace causeway::memory
