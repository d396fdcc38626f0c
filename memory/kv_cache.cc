#include "memory/kv_cache.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/check.h"
#include "fmt/format.h"
#include "memory/kv_jobs.h"
#include "memory/page_runs.h"

namespace causeway::memory {
namespace {

constexpr int64_t kMaxArenaBytes = int64_t{1} << 46;  // half of what user space has
constexpr int64_t kMaxSpans = 1 << 16;
// Beside its runs of pages, each range has an unmapped rest, and may have a run that begins sealed and ends
// writable: two mappings to the system.
constexpr int64_t kMappingsOfASpan = 2;

// Each span may have a trunk of its own.
int64_t RangesOf(const KvCacheOptions& options) {
  return options.prefix_spelling == PrefixSpelling::kSegments ? 2 * options.max_spans : options.max_spans;
}

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
  if (options.tenants.size() > kMaxTenants) {
    return MakeError(ErrorCode::kInvalidArgument, fmt::format("a KV cache has at most {} tenants", kMaxTenants));
  }
  int64_t floors = 0;
  for (const TenantLimits& tenant : options.tenants) {
    if (tenant.floor_pages < 0 || tenant.quota_pages < 1 || tenant.floor_pages > tenant.quota_pages) {
      return MakeError(ErrorCode::kInvalidArgument,
                       fmt::format("tenant {}: the quota is at least a page and not below the floor", tenant.name));
    }
    floors += std::min(tenant.floor_pages, options.max_pages + 1);
  }
  if (floors > options.max_pages) {
    return MakeError(
        ErrorCode::kInvalidArgument,
        fmt::format("the tenants' floors take {} pages of the {} that there are", floors, options.max_pages));
  }
  const int64_t arena_pages = kMaxArenaBytes / geometry.page_bytes / RangesOf(options);
  if (options.positions_per_span > arena_pages * geometry.tokens_per_page) {
    return MakeError(ErrorCode::kInvalidArgument, fmt::format("{} sequences of {} tokens do not fit the address space",
                                                              options.max_spans, options.positions_per_span));
  }
  if (kMappingsOfASpan * RangesOf(options) >= backend.MaxMappings()) {
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

SpanSegments Span::segments() const {
  const KvSlot& slot = cache_->SlotOf(*this);
  const int64_t page_tokens = cache_->geometry().tokens_per_page;
  SpanSegments segments;
  if (slot.first > 0) {
    segments.Add({cache_->AddressOf(*slot.trunk, 0), 0, slot.first * page_tokens});
  }
  if (slot.first == 0 || slot.live > 0) {
    segments.Add({cache_->AddressOf(slot, 0), slot.first * page_tokens, slot.live * page_tokens});
  }
  return segments;
}
std::byte* Span::page(int64_t place) const {
  const KvSlot& slot = cache_->SlotOf(*this);
  return place < slot.first ? cache_->AddressOf(*slot.trunk, place) : cache_->AddressOf(slot, place - slot.first);
}
int64_t Span::mapped_pages() const { return cache_->SlotOf(*this).first + cache_->SlotOf(*this).mapped(); }
int64_t Span::sealed_pages() const { return cache_->SlotOf(*this).sealed_places(); }
PageId Span::sealed_page(int64_t place) const {
  CHECK(place >= 0 && place < sealed_pages());
  return cache_->SlotOf(*this).PageAt(place);
}
int64_t Span::capacity_positions() const { return cache_->SlotOf(*this).places() * cache_->geometry().tokens_per_page; }

// ---- Creation --------------------------------------------------------------------------------------

Result<std::unique_ptr<KvCache>> KvCache::Create(const KvCacheOptions& options, std::unique_ptr<VmBackend> backend,
                                                 KvCacheParts parts) {
  TRY(Validate(options, *backend));
  for (auto* const control : {&parts.control, &parts.mover}) {
    if (*control == nullptr) {
      *control = std::make_unique<MemoryControl>(MemoryControl::Mode::kDeferred);
    }
  }
  const int64_t pages = options.geometry.PagesFor(options.positions_per_span);
  ASSIGN_OR_RETURN(std::byte* const arena,
                   backend->ReserveArena(pages * options.geometry.page_bytes * RangesOf(options)));
  return std::unique_ptr<KvCache>(  // NOLINT: private
      new KvCache(options, std::move(backend), std::move(parts), arena));
}

KvCache::KvCache(const KvCacheOptions& options, std::unique_ptr<VmBackend> backend, KvCacheParts parts,
                 std::byte* arena)
    : options_(options),
      slot_bytes_(options.geometry.PagesFor(options.positions_per_span) * options.geometry.page_bytes),
      backend_(std::move(backend)),
      parts_(std::move(parts)),
      arena_(arena),
      pool_(*backend_, options.max_pages),
      ledger_(pool_, options.tenants),
      index_(options.geometry.tokens_per_page, options.prefix_key, ledger_.tenants().size(), parts_.tier != nullptr),
      slots_(static_cast<size_t>(RangesOf(options))) {}

KvCache::~KvCache() {
  SetWake({});
  parts_.control->Drain();
  parts_.mover->Drain();
  for (const Slot& slot : slots_) {
    CHECK_MSG(!slot.taken, "a span outlives its cache");
  }
}

std::byte* KvCache::AddressOf(const Slot& slot, int64_t page) const {
  return arena_ + (&slot - slots_.data()) * slot_bytes_ + page * options_.geometry.page_bytes;
}

int64_t KvCache::MappingLimit() const {
  return backend_->MaxMappings() - kMappingsOfASpan * std::ssize(slots_) - arriving_mappings_;
}

// ---- Spans -----------------------------------------------------------------------------------------

void KvCache::Park(Slot& slot) {
  CHECK(slot.taken && slot.users == 0);
  SetLive(slot, 0);
  if (Slot* const trunk = std::exchange(slot.trunk, nullptr)) {
    DropUser(*trunk);
  }
  slot.hold.Reset();
  --spans_;
  slot.taken = false;
}

void KvCache::SetLive(Slot& slot, int64_t live) {
  CHECK(live >= 0 && live <= slot.mapped());
  for (; slot.live < live; ++slot.live) {
    ledger_.AddLive(slot.pages[static_cast<size_t>(slot.live)].page(), slot.tenant);
  }
  for (; slot.live > live; --slot.live) {
    ledger_.DropLive(slot.pages[static_cast<size_t>(slot.live - 1)].page());
  }
}

void KvCache::ReleaseRef(PageRef& page) {
  const PageId id = page.page();
  const PageClass before = ledger_.ClassOf(id);
  page.Reset();
  ledger_.Moved(id, before);
}

Result<void> KvCache::Reserve(Span& span, int64_t positions) {
  CHECK(span.cache_ == this);
  CHECK_MSG(positions <= options_.positions_per_span, "{} positions in a span of {}", positions,
            options_.positions_per_span);
  Slot& slot = SlotOf(span);
  const int64_t wanted = options_.geometry.PagesFor(positions) - slot.first;
  if (wanted <= slot.live) {
    return {};
  }
  if (wanted > slot.mapped()) {
    Settle(slot);
  }
  TRY(MakeRoom(wanted - slot.live, slot.tenant));
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
bool KvCache::CanReserve(int64_t pages, TenantId tenant) const { return pages <= ledger_.Available(tenant); }

int64_t KvCache::RoomOf(TenantId tenant, int64_t pages) const {
  const auto tenants = ledger_.tenants();
  for (size_t i = 0; i < tenants.size(); ++i) {
    pages -= i == tenant ? 0 : tenants[i].floor_pages;
  }
  return std::clamp<int64_t>(pages, 0, tenants[tenant].quota_pages);
}

// Maps `count` pages behind the mapped ones and makes them live.
Result<void> KvCache::MapMore(Slot& slot, int64_t count) {
  TRY(Reclaim(count, slot.tenant));
  const size_t mapped = slot.pages.size();
  TRY(AcquirePages(count, mapped == 0 ? 0 : slot.pages.back().page() + 1, slot.pages));
  TRY(MapFrom(slot, mapped, true));
  for (size_t i = mapped; i < slot.pages.size(); ++i) {
    ledger_.Moved(slot.pages[i].page(), PageClass::kFree);
  }
  SetLive(slot, slot.mapped());
  return {};
}

// There are so many. The ledger is told by the caller, once it is sure to keep them.
Result<void> KvCache::AcquirePages(int64_t count, PageId preferred, std::vector<PageRef>& pages) {
  keep_ready_ = true;
  if (pool_.making() > 0 && pool_.created() + pool_.making() + count - pool_.free_pages() > pool_.limit()) {
    parts_.control->Drain();
  }
  const auto acquired = pool_.Acquire(count, preferred, pages);
  PublishCounts();
  return acquired;
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
  ++counters_.map_calls;
  mappings_ += runs;
  PublishCounts();
  return {};
}

// ---- Taking back -----------------------------------------------------------------------------------

Result<void> KvCache::MakeRoom(int64_t pages, TenantId tenant) {
  const auto abandoned = [](const auto& job) { return job->abandoned; };
  if (!CanReserve(pages, tenant) && std::any_of(restores_.begin(), restores_.end(), abandoned)) {
    parts_.mover->Drain();  // their pages are nobody's as soon as the reading ends
  }
  if (!CanReserve(pages, tenant)) {
    const bool quota = pages + ledger_.ReadTenant(tenant).held() > ledger_.tenants()[tenant].quota_pages;
    return MakeError(ErrorCode::kResourceExhausted,
                     quota ? fmt::format("tenant {} has no KV pages left of its quota", ledger_.tenants()[tenant].name)
                           : "no free KV pages");
  }
  while (ledger_.OverQuota(tenant, pages) > 0) {
    ASSIGN_OR_RETURN(const bool evicted, EvictOne(tenant, true));
    CHECK(evicted);
  }
  return {};
}

Result<void> KvCache::Reclaim(int64_t pages, TenantId tenant) {
  TRY(ReclaimParked(pages));
  while (pool_.Available() < pages) {
    ASSIGN_OR_RETURN(const bool evicted, EvictOne(tenant, false));
    CHECK(evicted);
    TRY(ReclaimParked(pages));
  }
  return {};
}

// From the last slot down, as the first is preferred among equals; untaken ranges before the surplus of taken ones.
Result<void> KvCache::ReclaimParked(int64_t pages) {
  for (const bool settled : {false, true}) {
    for (const bool taken : {false, true}) {
      for (auto slot = slots_.rbegin(); slot != slots_.rend() && pool_.Available() < pages; ++slot) {
        if (slot->taken == taken && slot->arriving == 0) {
          const int64_t kept = std::max(slot->live, slot->sealed);
          TRY(UnmapBehind(*slot, std::max(kept, slot->mapped() - (pages - pool_.Available()))));
        }
      }
    }
    if (settled || pool_.Available() >= pages || ahead_.empty()) {
      break;
    }
    parts_.control->Drain();  // what is being mapped ahead can be had, too
  }
  return {};
}

Result<void> KvCache::Shed(int64_t runs, const Slot& growing) {
  for (const bool taken : {false, true}) {
    for (auto slot = slots_.rbegin(); slot != slots_.rend() && mappings_ + runs > MappingLimit(); ++slot) {
      if (slot->taken == taken && &*slot != &growing) {
        TRY(UnmapBehind(*slot, slot->live));
      }
    }
  }
  if (mappings_ + runs > MappingLimit()) {
    return MakeError(ErrorCode::kResourceExhausted,
                     fmt::format("the system allows {} memory mappings (vm.max_map_count)", MappingLimit()));
  }
  return {};
}

// Unmaps the pages behind the first `kept`; nobody counts on them.
Result<void> KvCache::UnmapBehind(Slot& slot, int64_t kept) {
  CHECK(kept >= slot.live);
  Settle(slot);
  const int64_t count = slot.mapped() - kept;
  if (count <= 0) {
    return {};
  }
  TRY(backend_->Unmap(AddressOf(slot, kept), count));
  ++counters_.unmap_calls;
  mappings_ -= RunsBegun(slot.pages, static_cast<size_t>(kept));
  while (slot.mapped() > kept) {
    ReleaseRef(slot.pages.back());
    slot.pages.pop_back();
  }
  slot.sealed = std::min(slot.sealed, kept);
  PublishCounts();
  return {};
}

// ---- Figures ---------------------------------------------------------------------------------------

void KvCache::PublishCounts() {
  counters_.created_pages = pool_.created();
  counters_.making_pages = pool_.making();
  counters_.mappings = mappings_;
}

KvCacheStats KvCache::Stats() const {
  const PageCounts pages = ledger_.Read();
  KvCacheStats stats;
  stats.budget_pages = pages.total();
  stats.live_pages = pages[PageClass::kLive];
  stats.pinned_pages = pages[PageClass::kPinned];
  stats.moving_pages = pages[PageClass::kMoving];
  stats.cached_pages = pages[PageClass::kCached];
  stats.parked_pages = pages[PageClass::kParked];
  stats.created_pages = counters_.created_pages;
  stats.making_pages = counters_.making_pages;
  stats.page_bytes = options_.geometry.page_bytes;
  stats.mappings = counters_.mappings;
  stats.map_calls = counters_.map_calls;
  stats.ahead_calls = counters_.ahead_calls;
  stats.unmap_calls = counters_.unmap_calls;
  stats.spilled_pages = counters_.spilled_pages;
  stats.restored_pages = counters_.restored_pages;
  stats.lost_pages = counters_.lost_pages;
  for (size_t i = 0; i < kDropReasons; ++i) {
    stats.dropped_pages[i] = counters_.dropped_pages[i];
  }
  return stats;
}

}  // namespace causeway::memory
