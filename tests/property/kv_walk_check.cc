// What a KvWalk compares after each step, and at the end.
#include <map>
#include <set>

#include "base/check.h"
#include "tests/property/kv_walk.h"
#include "tests/support/kv_fixtures.h"

namespace causeway::memory {
namespace {

constexpr auto kT = static_cast<size_t>(kTestTokensPerPage);

}  // namespace

void KvWalk::Check() {
  cache_->CheckInvariants();
  CheckContents();
  CheckLedger();
  if (mock_ != nullptr) {
    CheckMappings();
  }
}

void KvWalk::CheckContents() {
  for (const Running& one : running_) {
    shared_trunks_ += &one != &running_.front() && one.span.base() == running_.front().span.base() ? 1 : 0;
    const auto pages = (one.text.tokens.size() + kT - 1) / kT;
    CHECK(one.span.capacity_positions() == static_cast<int64_t>(pages * kT));
    for (size_t place = 0; place < pages; ++place) {
      CheckPage(one.span.page(static_cast<int64_t>(place)), one.text, place);
    }
  }
  std::vector<std::byte> bytes(static_cast<size_t>(options_.geometry.page_bytes));
  for (const Pinned& one : pinned_) {
    for (int64_t place = 0; place < one.pin.pages(); ++place) {
      // The second time, if an injected failure has met the first.
      CHECK(cache_->ReadPage(one.pin.PageAt(place), bytes).ok() || cache_->ReadPage(one.pin.PageAt(place), bytes).ok());
      CheckPage(bytes.data(), one.text, static_cast<size_t>(place));
    }
  }
}

// The classes, counted naively: a page that several share counts once, as what it is most.
void KvWalk::CheckLedger() {
  using Key = std::pair<TenantId, uint64_t>;  // lineage of a page's last row
  std::map<Key, PageClass> classes;
  std::vector<int64_t> live(cache_->tenants().size());
  const auto is = [&](const Text& text, int64_t page, PageClass one) {
    const Key key{text.tenant, text.lineage[(static_cast<size_t>(page) + 1) * kT - 1]};
    const auto [it, added] = classes.emplace(key, one);
    it->second = std::max(it->second, one);
  };
  for (const Running& one : running_) {
    for (int64_t page = 0; page < one.span.sealed_pages(); ++page) {
      is(one.text, page, PageClass::kLive);
    }
    live[one.text.tenant] += one.span.capacity_positions() / kTestTokensPerPage - one.span.sealed_pages();
  }
  for (const Pinned& one : pinned_) {
    for (int64_t page = 0; page < one.pin.pages(); ++page) {
      is(one.text, page, PageClass::kPinned);
    }
  }
  bool on_the_way = false;
  for (const Coming& one : coming_) {
    on_the_way = on_the_way || !one.restoring.done();
    for (int64_t page = 0; one.restoring.done() && page < one.restoring.pages(); ++page) {
      is(one.text, page, PageClass::kMoving);
    }
  }
  const KvCacheStats stats = cache_->Stats();
  PageCounts sum;
  int64_t moving = 0;
  for (size_t i = 0; i < live.size(); ++i) {
    PageCounts expected;
    expected.of[static_cast<size_t>(PageClass::kLive)] = live[i];
    for (const auto& [key, one] : classes) {
      expected.of[static_cast<size_t>(one)] += key.first == i ? 1 : 0;
    }
    const PageCounts counts = cache_->TenantStats(static_cast<TenantId>(i));
    CHECK_MSG(counts[PageClass::kLive] == expected[PageClass::kLive], "step {}: tenant {} has {} live pages, not {}",
              step_, i, counts[PageClass::kLive], expected[PageClass::kLive]);
    CHECK(counts[PageClass::kPinned] == expected[PageClass::kPinned]);
    CHECK(counts[PageClass::kMoving] >= expected[PageClass::kMoving]);  // what is still on its way comes on top
    moving += expected[PageClass::kMoving];
    CHECK(counts.charged() <= cache_->tenants()[i].quota_pages);
    for (size_t one = 0; one < kPageClasses; ++one) {
      sum.of[one] += counts.of[one];
    }
  }
  given_up_ = given_up_ && (on_the_way || stats.moving_pages > moving);
  CHECK(on_the_way || given_up_ || stats.moving_pages == moving);
  CHECK(sum[PageClass::kLive] == stats.live_pages && sum[PageClass::kPinned] == stats.pinned_pages);
  CHECK(sum[PageClass::kMoving] == stats.moving_pages && sum[PageClass::kCached] == stats.cached_pages);
  CHECK(stats.budget_pages == limit_ && stats.free_pages() >= 0);
  CHECK(stats.created_pages + stats.making_pages <= limit_);
  CHECK(limit_ - stats.free_pages() <= stats.created_pages);
  if (stats.making_pages == 0) {
    CHECK_MSG(cache_->backend().PhysicalBytes() == stats.created_pages * stats.page_bytes,
              "step {}: the system counts {} bytes, we {} pages", step_, cache_->backend().PhysicalBytes(),
              stats.created_pages);
  }
}

// Asks the mock: a range is mapped without a hole, up to its end and no further; what is sealed is read-only and the
// same page for all who have it; what is not has one owner.
void KvWalk::CheckMappings() {
  std::map<PageId, int64_t> places;
  for (const auto& [address, mapping] : mock_->mappings()) {
    ++places[mapping.page];
    CHECK(mock_->created().contains(mapping.page));
  }
  for (const auto& [address, mapping] : mock_->mappings()) {
    CHECK_MSG(!mapping.writable || places[mapping.page] == 1, "step {}: page {} has a writer and {} places", step_,
              mapping.page, places[mapping.page]);
  }
  std::map<std::pair<TenantId, uint64_t>, PageId> sealed;
  for (const Running& one : running_) {
    const auto at = [&](int64_t page) { return mock_->mappings().find(one.span.page(page)); };
    const int64_t range_pages = options_.geometry.PagesFor(options_.positions_per_span);
    for (int64_t page = 0; page < range_pages; ++page) {
      CHECK((at(page) != mock_->mappings().end()) == (page < one.span.mapped_pages()));
    }
    for (int64_t page = 0; page < one.span.mapped_pages(); ++page) {
      CHECK(at(page)->second.writable == (page >= one.span.sealed_pages()));
      if (page < one.span.sealed_pages()) {
        const auto last = static_cast<size_t>(page + 1) * kT - 1;
        const auto known = sealed.emplace(std::pair(one.text.tenant, one.text.lineage[last]), at(page)->second.page);
        CHECK(known.first->second == at(page)->second.page);
      }
    }
  }
}

std::vector<PageCounts> KvWalk::TenantCounts() const {
  std::vector<PageCounts> counts;
  for (size_t i = 0; i < cache_->tenants().size(); ++i) {
    counts.push_back(cache_->TenantStats(static_cast<TenantId>(i)));
  }
  return counts;
}

// For the sake of one tenant, no other falls below its floor, nor further if it was there.
void KvWalk::CheckFloors(const std::vector<PageCounts>& before, TenantId taker) const {
  for (size_t i = 0; i < before.size(); ++i) {
    const int64_t least = std::min(before[i].charged(), cache_->tenants()[i].floor_pages);
    CHECK(i == taker || given_up_ || cache_->TenantStats(static_cast<TenantId>(i)).charged() >= least);
  }
}

}  // namespace causeway::memory
