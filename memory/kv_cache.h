// The KV cache of a replica: contiguous virtual spans over pooled physical pages.
//
// Owner: the engine thread. Stats() may be read from any thread.
//
// A span is a slot of the arena: one contiguous range long enough for a whole context, of which a prefix
// is mapped. A freed span is parked still mapped and adopted whole by the next sequence, so that in steady
// state no mapping call is made. When free pages run out, parked spans give theirs up.
//
// Invariants, checked by CheckInvariants():
//   pages mapped in live spans + pages mapped in parked spans = referenced pages of the pool
//   a span's mapped pages are a prefix of its range
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
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
  ~Span();

  explicit operator bool() const { return cache_ != nullptr; }
  std::byte* base() const;             // position 0
  int64_t mapped_pages() const;
  int64_t capacity_positions() const;  // positions that may be written now

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

// Exact by class: free + live + parked = budget (pages not yet created count as free).
struct KvCacheStats {
  int64_t budget_pages = 0;
  int64_t live_pages = 0;
  int64_t parked_pages = 0;
  int64_t created_pages = 0;  // physical pages that exist
  int64_t page_bytes = 0;
  uint64_t map_calls = 0;
  uint64_t unmap_calls = 0;

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

  // A span for a sequence that will soon hold `expected_positions`; prefers the parked span that fits
  // best. kResourceExhausted when all slots are taken.
  Result<Span> CreateSpan(int64_t expected_positions);

  // Makes positions [0, positions) writable. All or nothing: on kResourceExhausted, or any error of the
  // backend, the span is as it was.
  Result<void> Reserve(Span& span, int64_t positions);

  // Whether Reserve could succeed for `pages` more pages, parked ones included.
  bool CanReserve(int64_t pages) const;

  // Unmaps parked spans and gives free pages back to the system.
  Result<void> Trim();

  const KvGeometry& geometry() const { return options_.geometry; }
  const KvCacheOptions& options() const { return options_; }
  const VmBackend& backend() const { return *backend_; }
  KvCacheStats Stats() const;
  void CheckInvariants() const;

 private:
  friend class Span;
  struct Slot {
    std::vector<PageRef> pages;  // the mapped prefix
    bool live = false;
  };

  KvCache(const KvCacheOptions& options, std::unique_ptr<VmBackend> backend, std::byte* arena);
  std::byte* SlotBase(int32_t slot) const { return arena_ + slot * slot_bytes_; }
  void Park(int32_t slot);
  // Unmaps `count` pages from the end of a slot and drops its references.
  Result<void> UnmapTail(int32_t slot, int64_t count);
  // Takes pages from parked slots until `pages` are available.
  Result<void> Reclaim(int64_t pages);
  int32_t BestParked(int64_t wanted_pages) const;

  const KvCacheOptions options_;
  const std::unique_ptr<VmBackend> backend_;
  PagePool pool_;  // declared before slots_: it outlives every PageRef
  std::byte* const arena_;
  const int64_t slot_bytes_;
  std::vector<Slot> slots_;
  std::vector<PageId> scratch_ids_;
  std::atomic<int64_t> live_pages_{0};
  std::atomic<int64_t> parked_pages_{0};
  std::atomic<int64_t> created_pages_{0};
  std::atomic<uint64_t> map_calls_{0};
  std::atomic<uint64_t> unmap_calls_{0};
};

}  // namespace causeway::memory
