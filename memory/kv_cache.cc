#include "memory/kv_cache.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "fmt/format.h"

namespace causeway::memory {

Span::Span(Span&& other) noexcept
    : cache_(std::exchange(other.cache_, nullptr)), slot_(std::exchange(other.slot_, -1)) {}

Span& Span::operator=(Span&& other) noexcept {
  std::swap(cache_, other.cache_);
  std::swap(slot_, other.slot_);
  return *this;
}

Span::~Span() {
  if (cache_ != nullptr) {
    cache_->Park(slot_);
  }
}

std::byte* Span::base() const { return cache_->SlotBase(slot_); }

int64_t Span::mapped_pages() const {
  return static_cast<int64_t>(cache_->slots_[static_cast<size_t>(slot_)].pages.size());
}

int64_t Span::capacity_positions() const {
  return mapped_pages() * cache_->geometry().tokens_per_page;
}

Result<std::unique_ptr<KvCache>> KvCache::Create(const KvCacheOptions& options,
                                                 std::unique_ptr<VmBackend> backend) {
  const KvGeometry& geometry = options.geometry;
  if (options.max_pages < 1 || options.max_spans < 1 || options.positions_per_span < 1) {
    return MakeError(ErrorCode::kInvalidArgument, "a KV cache needs a page, a span and a position");
  }
  if (geometry.page_bytes % backend->granularity() != 0) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("a KV page of {} bytes is no multiple of the backend's {}",
                                 geometry.page_bytes, backend->granularity()));
  }
  const int64_t slot_bytes = geometry.PagesFor(options.positions_per_span) * geometry.page_bytes;
  constexpr int64_t kAddressSpace = int64_t{1} << 46;  // half of what user space has
  if (slot_bytes > kAddressSpace / options.max_spans) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("{} sequences of {} tokens do not fit the address space",
                                 options.max_spans, options.positions_per_span));
  }
  ASSIGN_OR_RETURN(std::byte* const arena, backend->ReserveArena(slot_bytes * options.max_spans));
  return std::unique_ptr<KvCache>(new KvCache(options, std::move(backend), arena));  // NOLINT: private
}

KvCache::KvCache(const KvCacheOptions& options, std::unique_ptr<VmBackend> backend, std::byte* arena)
    : options_(options),
      backend_(std::move(backend)),
      pool_(*backend_, options.max_pages),
      arena_(arena),
      slot_bytes_(options.geometry.PagesFor(options.positions_per_span) * options.geometry.page_bytes),
      slots_(static_cast<size_t>(options.max_spans)) {}

KvCache::~KvCache() {
  for (size_t slot = 0; slot < slots_.size(); ++slot) {
    CHECK_MSG(!slots_[slot].live, "a span outlives its cache");
    const auto index = static_cast<int32_t>(slot);
    CHECK(UnmapTail(index, static_cast<int64_t>(slots_[slot].pages.size())).ok());
  }
}

int32_t KvCache::BestParked(int64_t wanted_pages) const {
  // The smallest parked range that already holds what is wanted, else the one that holds most.
  int32_t best = -1;
  int64_t best_mapped = -1;
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].live) {
      continue;
    }
    const auto mapped = static_cast<int64_t>(slots_[i].pages.size());
    const bool fits = mapped >= wanted_pages;
    const bool best_fits = best_mapped >= wanted_pages;
    const bool better = fits ? !best_fits || mapped < best_mapped : !best_fits && mapped > best_mapped;
    if (best < 0 || better) {
      best = static_cast<int32_t>(i);
      best_mapped = mapped;
    }
  }
  return best;
}

Result<Span> KvCache::CreateSpan(int64_t expected_positions) {
  const int32_t slot = BestParked(options_.geometry.PagesFor(expected_positions));
  if (slot < 0) {
    return MakeError(ErrorCode::kResourceExhausted, "all spans are in use");
  }
  Slot& chosen = slots_[static_cast<size_t>(slot)];
  chosen.live = true;
  const auto mapped = static_cast<int64_t>(chosen.pages.size());
  parked_pages_ -= mapped;
  live_pages_ += mapped;
  return Span(this, slot);
}

Result<void> KvCache::Reserve(Span& span, int64_t positions) {
  CHECK(span.cache_ == this);
  CHECK_MSG(positions <= options_.positions_per_span, "{} positions in a span of {}", positions,
            options_.positions_per_span);
  Slot& slot = slots_[static_cast<size_t>(span.slot_)];
  const int64_t missing = options_.geometry.PagesFor(positions) - span.mapped_pages();
  if (missing <= 0) {
    return {};
  }
  TRY(Reclaim(missing));
  std::vector<PageRef> pages;
  pages.reserve(static_cast<size_t>(missing));
  TRY(pool_.Acquire(missing, pages));
  created_pages_ = pool_.created();
  scratch_ids_.clear();
  for (const PageRef& page : pages) {
    scratch_ids_.push_back(page.page());
  }
  std::byte* const target = span.base() + span.mapped_pages() * options_.geometry.page_bytes;
  TRY(backend_->Map(target, scratch_ids_, true));  // on failure `pages` go back to the pool
  ++map_calls_;
  std::move(pages.begin(), pages.end(), std::back_inserter(slot.pages));
  live_pages_ += missing;
  return {};
}

bool KvCache::CanReserve(int64_t pages) const { return pages <= pool_.Available() + parked_pages_; }

Result<void> KvCache::Reclaim(int64_t pages) {
  if (!CanReserve(pages)) {
    return MakeError(ErrorCode::kResourceExhausted, "no free KV pages");
  }
  for (size_t i = 0; i < slots_.size() && pool_.Available() < pages; ++i) {
    if (!slots_[i].live && !slots_[i].pages.empty()) {
      const int64_t count = std::min(static_cast<int64_t>(slots_[i].pages.size()), pages - pool_.Available());
      TRY(UnmapTail(static_cast<int32_t>(i), count));
    }
  }
  return {};
}

Result<void> KvCache::UnmapTail(int32_t slot, int64_t count) {
  if (count == 0) {
    return {};
  }
  Slot& chosen = slots_[static_cast<size_t>(slot)];
  const int64_t kept = static_cast<int64_t>(chosen.pages.size()) - count;
  CHECK(kept >= 0);
  TRY(backend_->Unmap(SlotBase(slot) + kept * options_.geometry.page_bytes, count));
  ++unmap_calls_;
  chosen.pages.resize(static_cast<size_t>(kept));
  (chosen.live ? live_pages_ : parked_pages_) -= count;
  return {};
}

void KvCache::Park(int32_t slot) {
  Slot& chosen = slots_[static_cast<size_t>(slot)];
  CHECK(chosen.live);
  chosen.live = false;
  const auto mapped = static_cast<int64_t>(chosen.pages.size());
  live_pages_ -= mapped;
  parked_pages_ += mapped;
}

Result<void> KvCache::Trim() {
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (!slots_[i].live) {
      TRY(UnmapTail(static_cast<int32_t>(i), static_cast<int64_t>(slots_[i].pages.size())));
    }
  }
  TRY(pool_.Trim(0));
  created_pages_ = pool_.created();
  return {};
}

KvCacheStats KvCache::Stats() const {
  KvCacheStats stats;
  stats.budget_pages = options_.max_pages;
  stats.live_pages = live_pages_;
  stats.parked_pages = parked_pages_;
  stats.created_pages = created_pages_;
  stats.page_bytes = options_.geometry.page_bytes;
  stats.map_calls = map_calls_;
  stats.unmap_calls = unmap_calls_;
  return stats;
}

void KvCache::CheckInvariants() const {
  pool_.CheckInvariants();
  int64_t live = 0;
  int64_t parked = 0;
  for (const Slot& slot : slots_) {
    (slot.live ? live : parked) += static_cast<int64_t>(slot.pages.size());
    for (const PageRef& page : slot.pages) {
      CHECK(pool_.References(page.page()) == 1);
    }
  }
  CHECK(live == live_pages_ && parked == parked_pages_);
  CHECK(live + parked == pool_.referenced());
}

}  // namespace causeway::memory
