// The part of KvCache that shares pages between spans: finding a prefix, sealing pages, giving them up.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "memory/kv_cache.h"
#include "memory/page_runs.h"

namespace causeway::memory {
namespace {

// How much of a parked range a sequence with this prefix can keep mapped.
struct Fit {
  int64_t common = 0;  // pages of the prefix that are in place
  int64_t usable = 0;  // those, and private ones right behind a whole prefix
};

Fit FitOf(const KvSlot& slot, std::span<const PageRef> prefix) {
  Fit fit;
  fit.common = slot.CommonPages(prefix);
  const bool whole = fit.common == slot.sealed && fit.common == static_cast<int64_t>(prefix.size());
  fit.usable = whole ? slot.mapped() : fit.common;
  return fit;
}

}  // namespace

// ---- Taking a prefix -------------------------------------------------------------------------------

// The range with most of the prefix in place; then the smallest that already holds what is wanted, else the one
// that holds most; then the one that loses least.
KvCache::Slot* KvCache::BestParked(int64_t wanted_pages, std::span<const PageRef> prefix) {
  Slot* best = nullptr;
  Fit best_fit;
  const auto better = [&](const Slot& slot, const Fit& fit) {
    if (fit.common != best_fit.common) {
      return fit.common > best_fit.common;
    }
    const bool fits = fit.usable >= wanted_pages;
    const bool best_fits = best_fit.usable >= wanted_pages;
    if (fits != best_fits) {
      return fits;
    }
    if (fit.usable != best_fit.usable) {
      return fits == (fit.usable < best_fit.usable);
    }
    return slot.mapped() < best->mapped();
  };
  for (Slot& slot : slots_) {
    if (slot.taken) {
      continue;
    }
    const Fit fit = FitOf(slot, prefix);
    if (best == nullptr || better(slot, fit)) {
      best = &slot;
      best_fit = fit;
    }
  }
  return best;
}

Result<Span> KvCache::CreateSpan(int64_t expected_positions, const PrefixQuery& query) {
  CHECK(!asleep());
  if (spans_ == options_.max_spans) {
    return MakeError(ErrorCode::kResourceExhausted, "all KV spans are in use");
  }
  std::vector<PageRef> prefix;
  PrefixIndex::Hold hold = index_.Find(query.keys, query.tokens, query.max_pages, prefix, query.tenant);
  const int64_t wanted = options_.geometry.PagesFor(expected_positions);
  Slot* slot = nullptr;
  if (options_.prefix_spelling == PrefixSpelling::kSegments && !prefix.empty()) {
    const auto behind = TakeBehindTrunk(wanted, prefix, query.tenant);
    slot = behind.ok() ? behind.value() : nullptr;
  }
  if (slot == nullptr) {
    ASSIGN_OR_RETURN(slot, TakeRange(wanted, prefix));
    TRY(MapPrefix(*slot, prefix));
  }
  slot->taken = true;
  slot->publishes = true;
  slot->tenant = query.tenant;
  slot->hold = std::move(hold);
  ++spans_;
  SetLive(*slot, slot->sealed);
  return Span(this, static_cast<int32_t>(slot - slots_.data()));
}

// The parked range that suits best, with what of it can be used.
Result<KvCache::Slot*> KvCache::TakeRange(int64_t wanted_pages, std::span<const PageRef> prefix) {
  Slot* const slot = BestParked(wanted_pages, prefix);
  CHECK(slot != nullptr);  // no more than one trunk and one range is taken for each span
  Settle(*slot);
  TRY(UnmapBehind(*slot, FitOf(*slot, prefix).usable));
  slot->first = 0;
  return slot;
}

// Maps what of the prefix is not in place yet.
Result<void> KvCache::MapPrefix(Slot& slot, std::span<const PageRef> prefix) {
  const size_t common = std::min(slot.pages.size(), prefix.size());
  if (common == prefix.size()) {
    return {};
  }
  for (const PageRef& page : prefix.subspan(common)) {
    slot.pages.push_back(page.Share());
  }
  TRY(MapFrom(slot, common, false));
  slot.sealed = slot.mapped();
  return {};
}

// ---- Publishing ------------------------------------------------------------------------------------

void KvCache::Publish(Span& span, std::span<const Digest> keys, std::span<const Token> tokens) {
  Slot& slot = SlotOf(span);
  const auto page_tokens = static_cast<size_t>(options_.geometry.tokens_per_page);
  CHECK(static_cast<int64_t>(keys.size()) <= slot.places() && tokens.size() >= keys.size() * page_tokens);
  while (slot.publishes && slot.sealed_places() < static_cast<int64_t>(keys.size())) {
    const auto at = static_cast<size_t>(slot.sealed_places());
    slot.publishes = SealNext(slot, keys[at], tokens.subspan(at * page_tokens, page_tokens));
  }
}

bool KvCache::SealNext(Slot& slot, const Digest& key, std::span<const Token> tokens) {
  std::byte* const address = AddressOf(slot, slot.sealed);
  if (const PageRef* const known = index_.Known(slot.hold, key, tokens, slot.tenant)) {
    if (!TakeKnown(slot, *known)) {
      return false;
    }
    CHECK(index_.Insert(slot.hold, key, tokens, *known, slot.tenant) == PrefixIndex::Inserted::kKnown);
    ++slot.sealed;
    return true;
  }
  if (!backend_->Protect(address, 1, false).ok()) {
    return false;
  }
  const PageRef& page = slot.pages[static_cast<size_t>(slot.sealed)];
  if (index_.Insert(slot.hold, key, tokens, page, slot.tenant) != PrefixIndex::Inserted::kAdded) {
    CHECK_MSG(backend_->Protect(address, 1, true).ok(), "cannot make a KV page writable again");
    return false;
  }
  ledger_.SetIndexed(page.page(), true);
  ++slot.sealed;
  return true;
}

// Maps a page of the index where the span has one of its own with the same content.
bool KvCache::TakeKnown(Slot& slot, const PageRef& known) {
  const auto at = static_cast<size_t>(slot.sealed);
  const auto runs_here = [&] { return (BeginsRun(slot.pages, at) ? 1 : 0) + (BeginsRun(slot.pages, at + 1) ? 1 : 0); };
  if (!Shed(2, slot).ok()) {
    return false;
  }
  std::byte* const address = AddressOf(slot, slot.sealed);
  if (!backend_->Replace(address, known.page(), false).ok()) {
    CHECK_MSG(backend_->Replace(address, slot.pages[at].page(), true).ok(), "cannot map a KV page again");
    return false;
  }
  const int runs_before = runs_here();
  PageRef old = std::exchange(slot.pages[at], known.Share());
  mappings_ += runs_here() - runs_before;
  ++counters_.map_calls;
  PublishCounts();
  ledger_.DropLive(old.page());
  ledger_.AddLive(known.page(), slot.tenant);
  ReleaseRef(old);
  return true;
}

Result<void> KvCache::CopyPage(const Span& from, Span& to, int64_t page) {
  const Slot& source = SlotOf(from);
  const Slot& target = SlotOf(to);
  CHECK(page < source.places() && page < target.places() && page >= target.sealed_places());
  return backend_->Copy(to.page(page), from.page(page));
}

PrefixPin KvCache::PinSealed(const Span& span) {
  const Slot& slot = SlotOf(span);
  PrefixPin pin;
  pin.cache_ = this;
  pin.hold_ = slot.hold.Share();
  for (int64_t place = 0; place < slot.sealed_places(); ++place) {
    pin.pages_.push_back(slot.PageAt(place));
    ledger_.AddPin(pin.pages_.back(), slot.tenant);
  }
  return pin;
}

KvCache::Loss KvCache::LossAt(const PrefixQuery& query, int64_t found) const {
  const auto at = static_cast<size_t>(found);
  return at < query.keys.size() && ghosts_.Contains(query.keys[at]) ? Loss::kEvicted : Loss::kNever;
}

// ---- Giving up -------------------------------------------------------------------------------------

Result<bool> KvCache::EvictOne(std::optional<TenantId> taker, bool own_only, Spill spill) {
  const auto next = index_.NextToGo(
      [&](TenantId owner) { return !taker || owner == *taker || (!own_only && ledger_.MayTake(*taker, owner)); });
  if (!next) {
    return false;
  }
  // Parked ranges, and ends of trunks that nobody uses, lose the page and what lies behind it there.
  for (Slot& slot : slots_) {
    const int64_t at = next->place - slot.first;
    if (at >= 0 && at < slot.sealed && slot.pages[static_cast<size_t>(at)].page() == next->page) {
      TRY(UnmapBehind(slot, at));
    }
  }
  if (spill == Spill::kYes) {
    SpillPage(*next);
  }
  ghosts_.Add(next->key);
  ledger_.SetIndexed(next->page, false);
  PageRef page = index_.Evict(next->key);
  ReleaseRef(page);
  return true;
}

}  // namespace causeway::memory
