// The KV cache of a replica: contiguous virtual spans over pooled physical pages.
//
// Owner: the engine thread. Stats() may be read from any thread.
//
// A span is a slot of the arena: one contiguous range long enough for a whole context, of which a prefix
// is mapped. A freed span is parked still mapped and adopted whole by the next sequence, so that in steady
// state no mapping call is made. A sequence is charged for the pages it counts on; whatever else its range
// has mapped is parked too, and goes when pages run short.
//
// Invariants, checked by CheckInvariants():
//   live + parked + free = budget;  live + parked = referenced pages of the pool
//   a span's mapped pages are a prefix of its range, its live pages a prefix of the mapped ones
//   mappings (runs of pages that are neighbours in range and pool) <= the backend's limit
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "memory/budget.h"
#include "memory/kv_geometry.h"
#include "memory/page_pool.h"
#include "memory/vm/vm_backend.h"

namespace causeway::memory {

class KvCache;

// One sequence's contiguous range. Destroying it parks the range.
class Span {
 public:
  Span() = default;
  Span(Span&& other) noexcept;
  Span& operator=(Span&& other) noexcept;
  ~Span() { Release(); }

  explicit operator bool() const { return cache_ != nullptr; }
  std::byte* base() const;             // position 0
  int64_t mapped_pages() const;        // reserved ones and what was adopted with the range
  int64_t capacity_positions() const;  // positions that may be written now: those reserved, to a full page
  void Release();                      // parks the range now

 private:
  friend class KvCache;
  Span(KvCache* cache, int32_t slot) : cache_(cache), slot_(slot) {}

  KvCache* cache_ = nullptr;
  int32_t slot_ = -1;
};

struct KvCacheOptions {
  KvGeometry geometry;
  int64_t max_pages = 0;           // the budget
  int64_t max_spans = 0;           // sequences that hold KV at once
  int64_t positions_per_span = 0;  // the longest context
};

// live + parked + free = budget (pages not yet created count as free).
struct KvCacheStats {
  int64_t budget_pages = 0;
  int64_t live_pages = 0;     // reserved by sequences
  int64_t parked_pages = 0;   // mapped and up for taking
  int64_t created_pages = 0;  // physical pages that exist; times page_bytes: what the system counts
  int64_t page_bytes = 0;
  int64_t mappings = 0;       // runs of pages mapped
  uint64_t map_calls = 0;
  uint64_t unmap_calls = 0;

  int64_t free_pages() const { return budget_pages - live_pages - parked_pages; }
  double usage() const {
    return budget_pages == 0 ? 0.0 : static_cast<double>(live_pages) / static_cast<double>(budget_pages);
  }
};

class KvCache {
 public:
  static Result<std::unique_ptr<KvCache>> Create(const KvCacheOptions& options,
                                                 std::unique_ptr<VmBackend> backend);
  ~KvCache();  // all spans must be gone
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  // A span for a sequence that will soon hold `expected_positions`, none of them reserved yet; prefers the
  // parked range that fits best. kResourceExhausted when all slots are taken.
  Result<Span> CreateSpan(int64_t expected_positions);

  // Makes positions [0, positions) writable. All or nothing: on kResourceExhausted (budget, mappings) or
  // any error of the backend every span is as it was; parked pages may have become free ones.
  Result<void> Reserve(Span& span, int64_t positions);

  // Whether Reserve could succeed for `pages` more pages, parked ones included.
  bool CanReserve(int64_t pages) const;

  // Unmaps what is parked and gives free pages back to the system.
  Result<void> Trim();

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
    bool taken = false;

    int64_t mapped() const { return static_cast<int64_t>(pages.size()); }
  };

  KvCache(const KvCacheOptions& options, std::unique_ptr<VmBackend> backend, std::byte* arena);
  Slot& SlotOf(const Span& span) { return slots_[static_cast<size_t>(span.slot_)]; }
  std::byte* AddressOf(const Slot& slot, int64_t page) const;
  Slot* BestParked(int64_t wanted_pages);
  void Park(Slot& slot);
  void SetLive(Slot& slot, int64_t live);  // moves pages between live and parked
  // Takes parked pages from the ranges' tails until `pages` are available; Shed: until `runs` more
  // mappings are allowed, `growing` left alone.
  Result<void> Reclaim(int64_t pages);
  Result<void> Shed(int64_t runs, const Slot& growing);
  Result<void> MapMore(Slot& slot, int64_t count);
  Result<void> UnmapTail(Slot& slot, int64_t count);

  const KvCacheOptions options_;
  const int64_t slot_bytes_;
  const std::unique_ptr<VmBackend> backend_;
  std::byte* const arena_;
  PagePool pool_;  // declared before slots_: it outlives every PageRef
  std::vector<Slot> slots_;
  std::vector<PageId> scratch_ids_;

  // Written by the owner, read by any thread.
  Budget budget_;
  std::atomic<int64_t> created_pages_{0};
  std::atomic<int64_t> mappings_{0};
  std::atomic<uint64_t> map_calls_{0};
  std::atomic<uint64_t> unmap_calls_{0};
};

}  // namespace causeway::memory
