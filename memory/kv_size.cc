// The part of KvCache that gives memory back and takes it again, and checks that everything adds up.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "fmt/format.h"
#include "memory/kv_cache.h"
#include "memory/kv_jobs.h"
#include "memory/page_runs.h"

namespace causeway::memory {
namespace {

// A span's sealed pages are its own to use, and it holds the last one; a trunk has no more live pages than its users
// begin with, and they begin with the same ones as it.
void CheckUse(const KvSlot& slot, std::span<const KvSlot> slots) {
  int64_t users = 0;
  int64_t live = 0;
  for (const KvSlot& user : slots) {
    if (user.trunk == &slot) {
      ++users;
      live = std::max(live, user.first);
      CHECK(user.taken && user.users == 0 && user.hold && user.hold.pages() >= user.first);
      CHECK(user.tenant == slot.tenant);
    }
  }
  CHECK(users == slot.users && (users == 0 || slot.taken));
  if (users > 0) {
    CHECK(slot.first == 0 && slot.trunk == nullptr && slot.live == live && slot.sealed == slot.mapped() && !slot.hold);
  } else if (slot.taken) {
    CHECK(slot.sealed <= slot.live && slot.hold.pages() == slot.sealed_places());
    CHECK((slot.trunk != nullptr) == (slot.first > 0));
  } else {
    CHECK(slot.live == 0 && !slot.hold && slot.trunk == nullptr);
  }
}

}  // namespace

Result<void> KvCache::Trim() {
  parts_.control->Drain();
  for (Slot& slot : slots_) {
    TRY(UnmapBehind(slot, std::max(slot.live, slot.sealed)));
  }
  keep_ready_ = false;
  const auto trimmed = pool_.Trim(0);
  PublishCounts();
  return trimmed;
}

Result<void> KvCache::DropPrefixes() {
  while (true) {
    ASSIGN_OR_RETURN(const bool evicted, EvictOne(std::nullopt, false, Spill::kNo));
    if (!evicted) {
      return {};
    }
  }
}

Result<void> KvCache::Resize(int64_t pages) {
  if (pages < 1 || pages > options_.max_pages) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("the KV cache can have 1 to {} pages, not {}", options_.max_pages, pages));
  }
  parts_.control->Drain();
  const PageCounts counts = ledger_.Read();
  if (counts.held() > pages) {
    return MakeError(ErrorCode::kResourceExhausted,
                     fmt::format("{} KV pages are in use; {} cannot be all that there are", counts.held(), pages));
  }
  const int64_t more = std::max<int64_t>(0, pool_.limit() - pages);  // that have to be available
  TRY(ReclaimParked(more));
  while (pool_.Available() < more) {
    ASSIGN_OR_RETURN(const bool evicted, EvictOne(std::nullopt, false));
    CHECK(evicted);
    TRY(ReclaimParked(more));
  }
  const int64_t before = pool_.limit();
  const auto limited = pool_.SetLimit(pages);
  PublishCounts();
  TRY(limited);
  ledger_.ChangeTotal(pages - before);
  return {};
}

// ---- Sleep -----------------------------------------------------------------------------------------

Result<void> KvCache::Sleep() {
  CHECK(!asleep());
  parts_.control->Drain();
  parts_.mover->Drain();
  const PageCounts counts = ledger_.Read();
  if (counts.held() > 0 || spans_ > 0) {  // a span may have no page yet
    return MakeError(ErrorCode::kFailedPrecondition,
                     fmt::format("{} sequences are there, {} KV pages are kept by states and {} on their way: save and "
                                 "delete them first",
                                 spans_, counts[PageClass::kPinned], counts[PageClass::kMoving]));
  }
  const int64_t created = pool_.created();
  while (true) {
    ASSIGN_OR_RETURN(const bool evicted, EvictOne(std::nullopt, false, Spill::kYes));
    if (!evicted) {
      break;
    }
  }
  TRY(Trim());
  slept_pages_ = created;
  return {};
}

Result<void> KvCache::Wake() {
  CHECK(asleep());
  std::vector<PageRef> pages;
  const auto made = pool_.Acquire(std::min(*slept_pages_, pool_.limit()), 0, pages);
  pages.clear();
  if (!made.ok() && !pool_.Trim(0).ok()) {
    LOG_WARNING("the KV cache could not wake and keeps {} pages asleep", pool_.created());
  }
  PublishCounts();
  TRY(made);
  slept_pages_.reset();
  return {};
}

// ---- Invariants ------------------------------------------------------------------------------------

// Pages that jobs hold: neither is mapped or indexed yet.
void KvCache::CountJobs(std::vector<uint32_t>& references) const {
  for (const auto& job : ahead_) {
    for (const PageRef& page : job->pages) {
      ++references[page.page()];
    }
  }
  for (const auto& job : restores_) {
    for (const PageRef& page : job->pages) {
      ++references[page.page()];
    }
  }
}

void KvCache::CheckInvariants() const {
  pool_.CheckInvariants();
  ledger_.CheckInvariants();
  index_.CheckInvariants();
  CHECK(ledger_.Read().total() == pool_.limit());
  std::vector<uint32_t> references(static_cast<size_t>(options_.max_pages), 0);
  std::vector<uint32_t> live(static_cast<size_t>(options_.max_pages), 0);
  int64_t runs = 0;
  for (const Slot& slot : slots_) {
    CHECK(slot.live >= 0 && slot.live <= slot.mapped());
    CheckUse(slot, slots_);
    CHECK((slot.mapped() + slot.arriving) * options_.geometry.page_bytes <= slot_bytes_);
    runs += RunsBegun(slot.pages, 0);
    for (int64_t i = 0; i < slot.mapped(); ++i) {
      const PageId page = slot.pages[static_cast<size_t>(i)].page();
      ++references[page];
      live[page] += i < slot.live ? 1 : 0;
      CHECK(ledger_.indexed(page) == (i < slot.sealed));
      CHECK(ledger_.indexed(page) || pool_.References(page) == 1);
    }
  }
  CountJobs(references);
  int64_t indexed = 0;
  for (int64_t id = 0; id < options_.max_pages; ++id) {
    const auto page = static_cast<PageId>(id);
    indexed += ledger_.indexed(page) ? 1 : 0;
    CHECK(pool_.References(page) == references[page] + (ledger_.indexed(page) ? 1 : 0));
    CHECK(ledger_.live(page) == live[page]);
  }
  CHECK(indexed == index_.pages());
  CHECK(runs == mappings_ && runs <= MappingLimit());
  CHECK(counters_.created_pages == pool_.created());
}

}  // namespace causeway::memory
