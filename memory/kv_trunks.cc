// The part of KvCache that spells a shared prefix as a segment: a range in which a chain's pages are mapped once, its
// trunk, is read by all spans that begin with them.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "memory/kv_cache.h"

namespace causeway::memory {
namespace {

// Whether the range has all of the prefix behind its trunk's part of it in place. A sealed page has one place in one
// chain: who has the last one has them all.
bool HasEnd(const KvSlot& slot, std::span<const PageRef> prefix) {
  const int64_t count = std::ssize(prefix) - slot.first;
  return count > 0 && slot.sealed >= count && slot.pages[static_cast<size_t>(count - 1)].page() == prefix.back().page();
}

bool IsTrunk(const KvSlot& slot) { return slot.users > 0; }

// The range that begins with the prefix, whether spans use it as a trunk or nobody uses it. The former goes first.
KvSlot* TrunkWith(std::span<KvSlot> slots, std::span<const PageRef> prefix) {
  KvSlot* found = nullptr;
  for (KvSlot& slot : slots) {
    if (slot.first == 0 && (IsTrunk(slot) || (!slot.taken && found == nullptr)) && HasEnd(slot, prefix)) {
      found = &slot;
      if (IsTrunk(slot)) {
        break;
      }
    }
  }
  return found;
}

// The parked range, the longest one, with which all of the prefix is in place: alone, or behind a trunk that is there.
KvSlot* ParkedWith(std::span<KvSlot> slots, std::span<const PageRef> prefix) {
  KvSlot* found = nullptr;
  for (KvSlot& slot : slots) {
    if (!slot.taken && HasEnd(slot, prefix) && (found == nullptr || slot.mapped() > found->mapped()) &&
        (slot.first == 0 || TrunkWith(slots, prefix.first(static_cast<size_t>(slot.first))) != nullptr)) {
      found = &slot;
    }
  }
  return found;
}

}  // namespace

// A range for a span that begins with the prefix, and the trunk in front of it if it needs one, both the span's.
Result<KvCache::Slot*> KvCache::TakeBehindTrunk(int64_t wanted_pages, std::span<const PageRef> prefix,
                                                TenantId tenant) {
  Slot* trunk = TrunkWith(slots_, prefix);
  if (trunk == nullptr || !IsTrunk(*trunk)) {
    if (Slot* const whole =
            ParkedWith(slots_, prefix)) {  // nothing is to be mapped, and what lies behind the prefix is kept
      return TakeWhole(*whole, prefix, tenant);
    }
  }
  if (trunk == nullptr) {
    ASSIGN_OR_RETURN(trunk, GrowTrunk(prefix));
  }
  TRY(AddUser(*trunk, std::ssize(prefix), tenant));
  const auto own = TakeRange(std::max<int64_t>(0, wanted_pages - std::ssize(prefix)), {});
  if (!own.ok()) {
    DropUser(*trunk);
    return own;
  }
  own.value()->first = std::ssize(prefix);
  own.value()->trunk = trunk;
  return own;
}

Result<KvCache::Slot*> KvCache::TakeWhole(Slot& slot, std::span<const PageRef> prefix, TenantId tenant) {
  Settle(slot);
  const int64_t count = std::ssize(prefix) - slot.first;
  TRY(UnmapBehind(slot, slot.sealed == count ? slot.mapped() : count));
  if (slot.first > 0) {
    Slot* const trunk = TrunkWith(slots_, prefix.first(static_cast<size_t>(slot.first)));
    TRY(AddUser(*trunk, slot.first, tenant));
    slot.trunk = trunk;
  }
  return &slot;
}

// Maps the prefix in one place: behind a trunk that is the beginning of it, or in the parked range with most of it.
Result<KvCache::Slot*> KvCache::GrowTrunk(std::span<const PageRef> prefix) {
  Slot* trunk = BestParked(std::ssize(prefix), prefix);
  int64_t in_place = trunk->CommonPages(prefix);
  for (Slot& slot : slots_) {
    if (IsTrunk(slot) && slot.mapped() >= in_place && slot.CommonPages(prefix) == slot.mapped()) {
      trunk = &slot;
      in_place = slot.mapped();
    }
  }
  if (!IsTrunk(*trunk)) {
    ASSIGN_OR_RETURN(trunk, TakeRange(std::ssize(prefix), prefix));
  }
  TRY(MapPrefix(*trunk, prefix));
  return trunk;
}

// One more span begins with the first `pages` of the range, which becomes a trunk if it was none.
Result<void> KvCache::AddUser(Slot& trunk, int64_t pages, TenantId tenant) {
  if (!IsTrunk(trunk)) {
    TRY(UnmapBehind(trunk, trunk.sealed));
    trunk.taken = true;
    trunk.tenant = tenant;
  }
  ++trunk.users;
  SetLive(trunk, std::max(trunk.live, pages));
  return {};
}

// What no other span begins with is only cached from now on.
void KvCache::DropUser(Slot& trunk) {
  CHECK(trunk.users > 0);
  int64_t live = 0;
  for (const Slot& slot : slots_) {
    live = slot.trunk == &trunk ? std::max(live, slot.first) : live;
  }
  SetLive(trunk, live);
  trunk.taken = --trunk.users > 0;
}

}  // namespace causeway::memory
