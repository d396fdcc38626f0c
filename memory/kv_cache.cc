#include "memory/kv_cache.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/check.h"
#include "fmt/format.h"

namespace causeway::memory {
namespace {

constexpr int64_t kMaxArenaBytes = int64_t{1} << 46;  // half of what user space has
constexpr int64_t kMaxSpans = 1 << 16;

// Runs that begin within pages[first, end): a page that does not follow its predecessor begins one.
int64_t RunsBegun(const std::vector<PageRef>& pages, size_t first) {
  int64_t runs = 0;
  for (size_t i = first; i < pages.size(); ++i) {
    runs += i == 0 || pages[i].page() != pages[i - 1].page() + 1 ? 1 : 0;
  }
  return runs;
}

Result<void> Validate(const KvCacheOptions& options, const VmBackend& backend) {
  const KvGeometry& geometry = options.geometry;
  if (options.max_pages < 1 || options.max_spans < 1 || options.positions_per_span < 1) {
    return MakeError(ErrorCode::kInvalidArgument, "a KV cache needs a page, a span and a position");
  }
  if (options.max_pages > UINT32_MAX || options.max_spans > kMaxSpans) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("a KV cache has at most {} pages and {} spans", UINT32_MAX, kMaxSpans));
  }
  if (geometry.page_bytes < 1 || geometry.tokens_per_page < 1 ||
      geometry.page_bytes % backend.granularity() != 0) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("a KV page of {} bytes is no multiple of the backend's {}",
                                 geometry.page_bytes, backend.granularity()));
  }
  const int64_t arena_pages = kMaxArenaBytes / geometry.page_bytes / options.max_spans;
  if (options.positions_per_span > arena_pages * geometry.tokens_per_page) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("{} sequences of {} tokens do not fit the address space",
                                 options.max_spans, options.positions_per_span));
  }
  if (options.max_spans >= backend.MaxMappings()) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("{} spans leave no memory mappings: the system allows {} (vm.max_map_count)",
                                 options.max_spans, backend.MaxMappings()));
  }
  return {};
}

}  // namespace

// ---- Span ------------------------------------------------------------------------------------------

Span::Span(Span&& other) noexcept
    : cache_(std::exchange(other.cache_, nullptr)), slot_(std::exchange(other.slot_, -1)) {}

Span& Span::operator=(Span&& other) noexcept {
  if (this != &other) {
    Release();
    cache_ = std::exchange(other.cache_, nullptr);
    slot_ = std::exchange(other.slot_, -1);
  }
  return *this;
}

void Span::Release() {
  if (KvCache* const cache = std::exchange(cache_, nullptr)) {
    cache->Park(cache->SlotOf(*this));
  }
}

std::byte* Span::base() const { return cache_->AddressOf(cache_->SlotOf(*this), 0); }
int64_t Span::mapped_pages() const { return cache_->SlotOf(*this).mapped(); }
int64_t Span::capacity_positions() const {
  return cache_->SlotOf(*this).live * cache_->geometry().tokens_per_page;
}

// ---- Creation --------------------------------------------------------------------------------------

Result<std::unique_ptr<KvCache>> KvCache::Create(const KvCacheOptions& options,
                                                 std::unique_ptr<VmBackend> backend) {
  TRY(Validate(options, *backend));
  const int64_t pages = options.geometry.PagesFor(options.positions_per_span);
  ASSIGN_OR_RETURN(std::byte* const arena,
                   backend->ReserveArena(pages * options.geometry.page_bytes * options.max_spans));
  return std::unique_ptr<KvCache>(new KvCache(options, std::move(backend), arena));  // NOLINT: private
}

KvCache::KvCache(const KvCacheOptions& options, std::unique_ptr<VmBackend> backend, std::byte* arena)
    : options_(options),
      slot_bytes_(options.geometry.PagesFor(options.positions_per_span) * options.geometry.page_bytes),
      backend_(std::move(backend)),
      arena_(arena),
      pool_(*backend_, options.max_pages),
      slots_(static_cast<size_t>(options.max_spans)),
      budget_(options.max_pages) {}

KvCache::~KvCache() {
  for (const Slot& slot : slots_) {
    CHECK_MSG(!slot.taken, "a span outlives its cache");
  }
}

std::byte* KvCache::AddressOf(const Slot& slot, int64_t page) const {
  return arena_ + (&slot - slots_.data()) * slot_bytes_ + page * options_.geometry.page_bytes;
}

// ---- Spans -----------------------------------------------------------------------------------------

// The smallest parked range that already holds what is wanted, else the one that holds most.
KvCache::Slot* KvCache::BestParked(int64_t wanted_pages) {
  Slot* best = nullptr;
  for (Slot& slot : slots_) {
    if (slot.taken) {
      continue;
    }
    const bool fits = slot.mapped() >= wanted_pages;
    if (best == nullptr) {
      best = &slot;
    } else if (best->mapped() >= wanted_pages ? fits && slot.mapped() < best->mapped()
                                              : slot.mapped() > best->mapped()) {
      best = &slot;
    }
  }
  return best;
}

Result<Span> KvCache::CreateSpan(int64_t expected_positions) {
  Slot* const slot = BestParked(options_.geometry.PagesFor(expected_positions));
  if (slot == nullptr) {
    return MakeError(ErrorCode::kResourceExhausted, "all KV spans are in use");
  }
  slot->taken = true;
  return Span(this, static_cast<int32_t>(slot - slots_.data()));
}

void KvCache::Park(Slot& slot) {
  CHECK(slot.taken);
  SetLive(slot, 0);
  slot.taken = false;
}

void KvCache::SetLive(Slot& slot, int64_t live) {
  CHECK(live >= 0 && live <= slot.mapped());
  const int64_t change = live - slot.live;
  slot.live = live;
  budget_.Change(change, -change);
}

Result<void> KvCache::Reserve(Span& span, int64_t positions) {
  CHECK(span.cache_ == this);
  CHECK_MSG(positions <= options_.positions_per_span, "{} positions in a span of {}", positions,
            options_.positions_per_span);
  Slot& slot = SlotOf(span);
  const int64_t wanted = options_.geometry.PagesFor(positions);
  if (wanted <= slot.live) {
    return {};
  }
  const int64_t live_before = slot.live;
  SetLive(slot, std::min(wanted, slot.mapped()));  // claimed first: Reclaim must not take them
  if (wanted > slot.mapped()) {
    if (auto mapped = MapMore(slot, wanted - slot.mapped()); !mapped.ok()) {
      SetLive(slot, live_before);
      return mapped;
    }
  }
  return {};
}

bool KvCache::CanReserve(int64_t pages) const { return pages <= pool_.Available() + budget_.Read().parked; }

// Maps `count` pages behind the mapped ones and makes them live.
Result<void> KvCache::MapMore(Slot& slot, int64_t count) {
  TRY(Reclaim(count));
  const size_t mapped = slot.pages.size();
  const PageId preferred = mapped == 0 ? 0 : slot.pages.back().page() + 1;
  const auto acquired = pool_.Acquire(count, preferred, slot.pages);
  created_pages_ = pool_.created();
  TRY(acquired);
  const int64_t runs = RunsBegun(slot.pages, mapped);
  scratch_ids_.clear();
  for (size_t i = mapped; i < slot.pages.size(); ++i) {
    scratch_ids_.push_back(slot.pages[i].page());
  }
  auto done = Shed(runs, slot);
  if (done.ok()) {
    done = backend_->Map(AddressOf(slot, static_cast<int64_t>(mapped)), scratch_ids_, true);
  }
  if (!done.ok()) {
    slot.pages.resize(mapped);  // back to the pool
    return done;
  }
  ++map_calls_;
  mappings_ += runs;
  slot.live += count;
  budget_.Change(count, 0);
  return {};
}

// ---- Taking back -----------------------------------------------------------------------------------

// From the last slot down, as BestParked prefers the first among equals; untaken ranges before the surplus
// of taken ones.
Result<void> KvCache::Reclaim(int64_t pages) {
  if (!CanReserve(pages)) {
    return MakeError(ErrorCode::kResourceExhausted, "no free KV pages");
  }
  for (const bool taken : {false, true}) {
    for (auto slot = slots_.rbegin(); slot != slots_.rend() && pool_.Available() < pages; ++slot) {
      if (slot->taken == taken) {
        TRY(UnmapTail(*slot, std::min(slot->mapped() - slot->live, pages - pool_.Available())));
      }
    }
  }
  return {};
}

Result<void> KvCache::Shed(int64_t runs, const Slot& growing) {
  // Each range also has an unmapped rest, which is a mapping of its own to the system.
  const int64_t limit = backend_->MaxMappings() - options_.max_spans;
  for (const bool taken : {false, true}) {
    for (auto slot = slots_.rbegin(); slot != slots_.rend() && mappings_ + runs > limit; ++slot) {
      if (slot->taken == taken && &*slot != &growing) {
        TRY(UnmapTail(*slot, slot->mapped() - slot->live));
      }
    }
  }
  if (mappings_ + runs > limit) {
    return MakeError(ErrorCode::kResourceExhausted,
                     fmt::format("the system allows {} memory mappings (vm.max_map_count)", limit));
  }
  return {};
}

// Unmaps `count` parked pages from the end of a range; they become free.
Result<void> KvCache::UnmapTail(Slot& slot, int64_t count) {
  if (count <= 0) {
    return {};
  }
  const int64_t kept = slot.mapped() - count;
  CHECK(kept >= slot.live);
  TRY(backend_->Unmap(AddressOf(slot, kept), count));
  ++unmap_calls_;
  mappings_ -= RunsBegun(slot.pages, static_cast<size_t>(kept));
  slot.pages.resize(static_cast<size_t>(kept));
  budget_.Change(0, -count);
  return {};
}

Result<void> KvCache::Trim() {
  for (Slot& slot : slots_) {
    TRY(UnmapTail(slot, slot.mapped() - slot.live));
  }
  const auto trimmed = pool_.Trim(0);
  created_pages_ = pool_.created();
  return trimmed;
}

// ---- Figures ---------------------------------------------------------------------------------------

KvCacheStats KvCache::Stats() const {
  const BudgetPages pages = budget_.Read();
  KvCacheStats stats;
  stats.budget_pages = pages.total;
  stats.live_pages = pages.live;
  stats.parked_pages = pages.parked;
  stats.created_pages = created_pages_;
  stats.page_bytes = options_.geometry.page_bytes;
  stats.mappings = mappings_;
  stats.map_calls = map_calls_;
  stats.unmap_calls = unmap_calls_;
  return stats;
}

void KvCache::CheckInvariants() const {
  pool_.CheckInvariants();
  int64_t live = 0;
  int64_t mapped = 0;
  int64_t runs = 0;
  for (const Slot& slot : slots_) {
    CHECK(slot.live >= 0 && slot.live <= slot.mapped());
    CHECK(slot.taken || slot.live == 0);
    CHECK(slot.mapped() * options_.geometry.page_bytes <= slot_bytes_);
    live += slot.live;
    mapped += slot.mapped();
    runs += RunsBegun(slot.pages, 0);
    for (const PageRef& page : slot.pages) {
      CHECK(pool_.References(page.page()) == 1);
    }
  }
  const BudgetPages pages = budget_.Read();
  CHECK(live == pages.live && mapped - live == pages.parked);
  CHECK(mapped == pool_.referenced() && pages.free == pool_.Available());
  CHECK(runs == mappings_ && runs + options_.max_spans <= backend_->MaxMappings());
  CHECK(created_pages_ == pool_.created());
}

}  // namespace causeway::memory
