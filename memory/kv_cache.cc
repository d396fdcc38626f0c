#include "memory/kv_cache.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/check.h"
#include "fmt/format.h"
#include "memory/page_runs.h"

namespace causeway::memory {
namespace {

constexpr int64_t kMaxArenaBytes = int64_t{1} << 46;  // half of what user space has
constexpr int64_t kMaxSpans = 1 << 16;
// Beside its runs of pages, each range has an unmapped rest, and may have a run that begins sealed and ends
// writable: two mappings to the system.
constexpr int64_t kMappingsOfASpan = 2;

Result<void> Validate(const KvCacheOptions& options, const VmBackend& backend) {
  const KvGeometry& geometry = options.geometry;
  if (options.max_pages < 1 || options.max_spans < 1 || options.positions_per_span < 1) {
    return MakeError(ErrorCode::kInvalidArgument, "a KV cache needs a page, a span and a position");
  }
  if (options.max_pages > Budget::kMaxPages || options.max_spans > kMaxSpans) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("a KV cache has at most {} pages and {} spans", Budget::kMaxPages, kMaxSpans));
  }
  if (geometry.page_bytes < 1 || geometry.tokens_per_page < 1 || geometry.page_bytes % backend.granularity() != 0) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("a KV page of {} bytes is no multiple of the backend's {}", geometry.page_bytes,
                                 backend.granularity()));
  }
  const int64_t arena_pages = kMaxArenaBytes / geometry.page_bytes / options.max_spans;
  if (options.positions_per_span > arena_pages * geometry.tokens_per_page) {
    return MakeError(ErrorCode::kInvalidArgument, fmt::format("{} sequences of {} tokens do not fit the address space",
                                                              options.max_spans, options.positions_per_span));
  }
  if (kMappingsOfASpan * options.max_spans >= backend.MaxMappings()) {
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
int64_t Span::sealed_pages() const { return cache_->SlotOf(*this).sealed; }
int64_t Span::capacity_positions() const { return cache_->SlotOf(*this).live * cache_->geometry().tokens_per_page; }

// ---- Creation --------------------------------------------------------------------------------------

Result<std::unique_ptr<KvCache>> KvCache::Create(const KvCacheOptions& options, std::unique_ptr<VmBackend> backend) {
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
      ledger_(pool_),
      index_(options.geometry.tokens_per_page, options.prefix_key),
      slots_(static_cast<size_t>(options.max_spans)) {}

KvCache::~KvCache() {
  for (const Slot& slot : slots_) {
    CHECK_MSG(!slot.taken, "a span outlives its cache");
  }
}

std::byte* KvCache::AddressOf(const Slot& slot, int64_t page) const {
  return arena_ + (&slot - slots_.data()) * slot_bytes_ + page * options_.geometry.page_bytes;
}

// ---- Spans -----------------------------------------------------------------------------------------

void KvCache::Park(Slot& slot) {
  CHECK(slot.taken);
  SetLive(slot, 0);
  slot.hold.Reset();
  slot.taken = false;
}

void KvCache::SetLive(Slot& slot, int64_t live) {
  CHECK(live >= 0 && live <= slot.mapped());
  for (; slot.live < live; ++slot.live) {
    ledger_.AddLive(slot.pages[static_cast<size_t>(slot.live)].page());
  }
  for (; slot.live > live; --slot.live) {
    ledger_.DropLive(slot.pages[static_cast<size_t>(slot.live - 1)].page());
  }
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

// A cached page is held by nobody, nor is any page behind it in its chain: eviction reaches it.
bool KvCache::CanReserve(int64_t pages) const {
  const BudgetPages budget = ledger_.Read();
  return pages <= budget.free + budget.parked + budget.cached;
}

// Maps `count` pages behind the mapped ones and makes them live.
Result<void> KvCache::MapMore(Slot& slot, int64_t count) {
  TRY(Reclaim(count));
  const size_t mapped = slot.pages.size();
  const PageId preferred = mapped == 0 ? 0 : slot.pages.back().page() + 1;
  const auto acquired = pool_.Acquire(count, preferred, slot.pages);
  created_pages_ = pool_.created();
  TRY(acquired);
  TRY(MapFrom(slot, mapped, true));
  for (size_t i = mapped; i < slot.pages.size(); ++i) {
    ledger_.Moved(slot.pages[i].page(), PageLedger::Class::kFree);
  }
  SetLive(slot, slot.mapped());
  return {};
}

// Maps slot.pages[first, end) at their places; where that fails, drops them.
Result<void> KvCache::MapFrom(Slot& slot, size_t first, bool writable) {
  const int64_t runs = RunsBegun(slot.pages, first);
  scratch_ids_.clear();
  for (size_t i = first; i < slot.pages.size(); ++i) {
    scratch_ids_.push_back(slot.pages[i].page());
  }
  auto done = Shed(runs, slot);
  if (done.ok()) {
    done = backend_->Map(AddressOf(slot, static_cast<int64_t>(first)), scratch_ids_, writable);
  }
  if (!done.ok()) {
    slot.pages.resize(first);
    return done;
  }
  ++map_calls_;
  mappings_ += runs;
  return {};
}

// ---- Taking back -----------------------------------------------------------------------------------

Result<void> KvCache::Reclaim(int64_t pages) {
  if (!CanReserve(pages)) {
    return MakeError(ErrorCode::kResourceExhausted, "no free KV pages");
  }
  TRY(ReclaimParked(pages));
  while (pool_.Available() < pages) {
    ASSIGN_OR_RETURN(const bool evicted, EvictOne());
    CHECK(evicted);
    TRY(ReclaimParked(pages));
  }
  return {};
}

// From the last slot down, as the first is preferred among equals; untaken ranges before the surplus of taken
// ones.
Result<void> KvCache::ReclaimParked(int64_t pages) {
  for (const bool taken : {false, true}) {
    for (auto slot = slots_.rbegin(); slot != slots_.rend() && pool_.Available() < pages; ++slot) {
      if (slot->taken == taken) {
        const int64_t kept = std::max(slot->live, slot->sealed);
        TRY(UnmapTail(*slot, std::min(slot->mapped() - kept, pages - pool_.Available())));
      }
    }
  }
  return {};
}

Result<void> KvCache::Shed(int64_t runs, const Slot& growing) {
  const int64_t limit = backend_->MaxMappings() - kMappingsOfASpan * options_.max_spans;
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

// Unmaps `count` pages that nobody counts on from the end of a range.
Result<void> KvCache::UnmapTail(Slot& slot, int64_t count) {
  if (count <= 0) {
    return {};
  }
  const int64_t kept = slot.mapped() - count;
  CHECK(kept >= slot.live);
  TRY(backend_->Unmap(AddressOf(slot, kept), count));
  ++unmap_calls_;
  mappings_ -= RunsBegun(slot.pages, static_cast<size_t>(kept));
  while (slot.mapped() > kept) {
    const PageId page = slot.pages.back().page();
    const PageLedger::Class before = ledger_.ClassOf(page);
    slot.pages.pop_back();
    ledger_.Moved(page, before);
  }
  slot.sealed = std::min(slot.sealed, kept);
  return {};
}

Result<void> KvCache::Trim() {
  for (Slot& slot : slots_) {
    TRY(UnmapTail(slot, slot.mapped() - std::max(slot.live, slot.sealed)));
  }
  const auto trimmed = pool_.Trim(0);
  created_pages_ = pool_.created();
  return trimmed;
}

// ---- Figures ---------------------------------------------------------------------------------------

KvCacheStats KvCache::Stats() const {
  const BudgetPages pages = ledger_.Read();
  KvCacheStats stats;
  stats.budget_pages = pages.total;
  stats.live_pages = pages.live;
  stats.parked_pages = pages.parked;
  stats.cached_pages = pages.cached;
  stats.created_pages = created_pages_;
  stats.page_bytes = options_.geometry.page_bytes;
  stats.mappings = mappings_;
  stats.map_calls = map_calls_;
  stats.unmap_calls = unmap_calls_;
  return stats;
}

void KvCache::CheckInvariants() const {
  pool_.CheckInvariants();
  ledger_.CheckInvariants();
  index_.CheckInvariants();
  std::vector<uint32_t> mapped(static_cast<size_t>(options_.max_pages), 0);
  std::vector<uint32_t> live(static_cast<size_t>(options_.max_pages), 0);
  int64_t runs = 0;
  for (const Slot& slot : slots_) {
    CHECK(slot.live >= 0 && slot.live <= slot.mapped());
    CHECK(slot.taken ? slot.sealed <= slot.live && slot.hold.pages() == slot.sealed : slot.live == 0 && !slot.hold);
    CHECK(slot.mapped() * options_.geometry.page_bytes <= slot_bytes_);
    runs += RunsBegun(slot.pages, 0);
    for (int64_t i = 0; i < slot.mapped(); ++i) {
      const PageId page = slot.pages[static_cast<size_t>(i)].page();
      ++mapped[page];
      live[page] += i < slot.live ? 1 : 0;
      CHECK(ledger_.indexed(page) == (i < slot.sealed));
      CHECK(ledger_.indexed(page) || pool_.References(page) == 1);
    }
  }
  int64_t indexed = 0;
  for (int64_t id = 0; id < options_.max_pages; ++id) {
    const auto page = static_cast<PageId>(id);
    indexed += ledger_.indexed(page) ? 1 : 0;
    CHECK(pool_.References(page) == mapped[page] + (ledger_.indexed(page) ? 1 : 0));
    CHECK(ledger_.live(page) == live[page]);
  }
  CHECK(indexed == index_.pages());
  CHECK(runs == mappings_ && runs + kMappingsOfASpan * options_.max_spans <= backend_->MaxMappings());
  CHECK(created_pages_ == pool_.created());
}

}  // namespace causeway::memory
