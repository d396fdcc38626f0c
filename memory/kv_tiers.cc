// The part of KvCache that moves pages to slower memory and back, and keeps what states pin.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "memory/kv_cache.h"
#include "memory/kv_jobs.h"

namespace causeway::memory {
namespace {

constexpr uint64_t kTriedAllTheSame = 64;  // one of so many moves that do not seem worth it

}  // namespace

// ---- Pins ------------------------------------------------------------------------------------------

PrefixPin::PrefixPin(PrefixPin&& other) noexcept
    : cache_(std::exchange(other.cache_, nullptr)),
      reason_(other.reason_),
      hold_(std::move(other.hold_)),
      pages_(std::move(other.pages_)) {}

PrefixPin& PrefixPin::operator=(PrefixPin&& other) noexcept {
  if (this != &other) {
    Reset();
    cache_ = std::exchange(other.cache_, nullptr);
    reason_ = other.reason_;
    hold_ = std::move(other.hold_);
    pages_ = std::move(other.pages_);
  }
  return *this;
}

void PrefixPin::Reset() {
  if (KvCache* const cache = std::exchange(cache_, nullptr)) {
    for (const PageId page : pages_) {
      reason_ == PageClass::kPinned ? cache->ledger_.DropPin(page) : cache->ledger_.DropMove(page);
    }
    pages_.clear();
    hold_.Reset();
  }
}

void PrefixPin::BecomePinned() {
  for (const PageId page : pages_) {
    cache_->ledger_.AddPin(page, cache_->ledger_.TenantOf(page));
    cache_->ledger_.DropMove(page);
  }
  reason_ = PageClass::kPinned;
}

// ---- Bringing back ---------------------------------------------------------------------------------

bool Restoring::done() const { return job_->done; }
int64_t Restoring::pages() const { return job_->pin.pages(); }

PrefixPin Restoring::TakePin() {
  CHECK(job_->done);
  job_->pin.BecomePinned();
  return std::move(job_->pin);
}

Restoring& Restoring::operator=(Restoring&& other) noexcept {
  if (this != &other) {
    Abandon();
    job_ = std::move(other.job_);
  }
  return *this;
}

void Restoring::Abandon() {
  if (const auto job = std::exchange(job_, nullptr)) {
    job->abandoned = true;
    if (job->done) {
      job->pin.Reset();
    }
  }
}

// By the rates measured lately. One in some that were found too slow is tried all the same, so that a tier which had a
// bad hour is found out to be well again.
bool KvCache::IsWorthMoving() {
  const KvGeometry& geometry = options_.geometry;
  return WorthMoving(geometry.page_bytes, geometry.tokens_per_page, parts_.tier->ReadRate(), compute_rate_) ||
         ++not_worth_ % kTriedAllTheSame == 0;
}

std::optional<Restoring> KvCache::Restore(const PrefixQuery& query) {
  if (parts_.tier == nullptr || asleep()) {
    return std::nullopt;
  }
  std::vector<PageRef> known;
  PrefixIndex::Hold hold = index_.Find(query.keys, query.tokens, query.max_pages, known, query.tenant);
  const auto first = std::ssize(known);
  const int64_t most = std::min(query.max_pages, std::ssize(query.keys)) - first;
  const int64_t count = most > 0 ? parts_.tier->Known(query.keys, first, query.tokens, most) : 0;
  if (count == 0 || !IsWorthMoving()) {
    return std::nullopt;
  }
  auto job =
      BeginRestore(query, std::move(hold), std::move(known), parts_.tier->BeginRead(query.keys, first, count), count);
  if (!job.ok()) {
    return std::nullopt;
  }
  (*job)->from_tier = true;
  return Restoring(std::move(job).value());
}

Result<Restoring> KvCache::Load(const PrefixQuery& query, std::unique_ptr<PageSource> source) {
  if (asleep()) {
    return MakeError(ErrorCode::kFailedPrecondition, "the KV cache sleeps");
  }
  ASSIGN_OR_RETURN(auto job, BeginRestore(query, {}, {}, std::move(source), std::ssize(query.keys)));
  return Restoring(std::move(job));
}

Result<std::shared_ptr<RestoreJob>> KvCache::BeginRestore(const PrefixQuery& query, PrefixIndex::Hold hold,
                                                          std::vector<PageRef> known,
                                                          std::unique_ptr<PageSource> source, int64_t count) {
  auto job = std::make_shared<RestoreJob>();
  job->tenant = query.tenant;
  job->pin.cache_ = this;
  job->pin.reason_ = PageClass::kMoving;
  job->pin.hold_ = std::move(hold);
  for (const PageRef& page : known) {
    ledger_.AddMove(page.page(), query.tenant);
    job->pin.pages_.push_back(page.page());
  }
  const auto first = known.size();
  known.clear();  // the hold keeps them
  TRY(MakeRoom(count, query.tenant));
  TRY(Reclaim(count, query.tenant));
  TRY(AcquirePages(count, 0, job->pages));
  for (const PageRef& page : job->pages) {
    ledger_.Moved(page.page(), PageClass::kFree);
    ledger_.AddMove(page.page(), query.tenant);
  }
  const auto page_tokens = static_cast<size_t>(options_.geometry.tokens_per_page);
  const auto keys = query.keys.subspan(first, static_cast<size_t>(count));
  const auto tokens = query.tokens.subspan(first * page_tokens, keys.size() * page_tokens);
  job->keys.assign(keys.begin(), keys.end());
  job->tokens.assign(tokens.begin(), tokens.end());
  job->source = std::move(source);
  restores_.push_back(job);
  parts_.mover->Post(
      [this, job] {
        job->good = job->source->Read([this, &job](int64_t index, std::span<const std::byte> bytes) {
          return backend_->WritePage(job->pages[static_cast<size_t>(index)].page(), bytes).ok();
        });
      },
      [this, job] { Restored(*job); });
  return job;
}

// Puts what has come into the index, as if it had been computed here.
void KvCache::Restored(RestoreJob& job) {
  const auto page_tokens = static_cast<size_t>(options_.geometry.tokens_per_page);
  for (size_t i = 0; i < job.pages.size(); ++i) {
    PageRef& page = job.pages[i];
    const auto tokens = std::span(job.tokens).subspan(i * page_tokens, page_tokens);
    const bool good = static_cast<int64_t>(i) < job.good;
    const auto inserted = good ? index_.Insert(job.pin.hold_, job.keys[i], tokens, page, job.tenant, job.from_tier)
                               : PrefixIndex::Inserted::kRefused;
    if (inserted == PrefixIndex::Inserted::kRefused) {
      job.good = std::min(job.good, static_cast<int64_t>(i));  // the chain ends here
      ledger_.DropMove(page.page());
      ReleaseRef(page);
      ++counters_.lost_pages;
      continue;
    }
    const PageId kept = job.pin.hold_.page().page();  // ours, or that of somebody who was quicker
    if (inserted == PrefixIndex::Inserted::kAdded) {
      ledger_.SetIndexed(kept, true);
    } else {
      ledger_.AddMove(kept, job.tenant);
      ledger_.DropMove(page.page());
    }
    ReleaseRef(page);
    job.pin.pages_.push_back(kept);
    ++counters_.restored_pages;
  }
  job.pages.clear();
  job.source.reset();
  job.done = true;
  std::erase_if(restores_, [&](const auto& one) { return one.get() == &job; });
  if (job.abandoned) {
    job.pin.Reset();
  }
}

// ---- Leaving ---------------------------------------------------------------------------------------

std::optional<DropReason> KvCache::Offer(const PrefixIndex::View& page) {
  if (parts_.tier == nullptr) {
    return DropReason::kNoTier;
  }
  if (!IsWorthMoving()) {
    return DropReason::kNotWorth;
  }
  const bool taken = parts_.tier->Put(
      {.key = page.key, .parent = page.parent, .place = page.place, .tenant = page.tenant, .tokens = page.tokens},
      [&](std::span<std::byte> to) { return backend_->ReadPage(page.page, to); });
  return taken ? std::nullopt : std::optional(DropReason::kRefused);
}

void KvCache::SpillPage(const PrefixIndex::View& page) {
  if (const auto reason = Offer(page)) {
    ++counters_.dropped_pages[static_cast<size_t>(*reason)];
  } else {
    ++counters_.spilled_pages;
  }
}

bool KvCache::HasWork() const { return parts_.tier != nullptr && parts_.tier->persistent() && index_.HasUnsaved(); }

// A page that nobody holds is offered once, soon, so that it survives this process.
bool KvCache::OfferNext() {
  if (!HasWork()) {
    return false;
  }
  const auto page = index_.NextUnsaved();
  if (page) {
    Offer(*page);  // it stays here, so nothing is lost if the tier will not have it
  }
  return page.has_value();
}

// What somebody holds, too, and what was refused before: the tier only touches what it has.
void KvCache::Save() {
  if (parts_.tier == nullptr) {
    return;
  }
  for (const PrefixIndex::View& page : index_.All()) {
    if (parts_.tier->persistent() && Offer(page) == DropReason::kRefused) {
      parts_.tier->Flush();  // it may only have been busy
      Offer(page);
    }
  }
  parts_.tier->Flush();
}

}  // namespace causeway::memory
