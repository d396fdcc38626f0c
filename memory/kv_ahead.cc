// The part of KvCache that has work done before it is needed, on the memory control thread.
#include <algorithm>
#include <iterator>
#include <utility>

#include "base/check.h"
#include "memory/kv_cache.h"
#include "memory/kv_jobs.h"
#include "memory/page_runs.h"

namespace causeway::memory {
namespace {

constexpr int64_t kMostAhead = 2;  // pages of a span
constexpr int64_t kMostMade = 8;   // pages of a job: a collapse has a price of its own, so that one by one costs more

}  // namespace

void KvCache::MapAhead(Span& span, int64_t positions) {
  Slot& slot = SlotOf(span);
  const int64_t wanted =
      options_.geometry.PagesFor(std::min(positions, options_.positions_per_span)) - slot.first - slot.mapped();
  if (wanted <= 0 || slot.arriving > 0 || pool_.free_pages() == 0 || mappings_ + kMostAhead > MappingLimit()) {
    return;
  }
  auto job = std::make_shared<AheadJob>();
  PageId preferred = slot.pages.empty() ? 0 : slot.pages.back().page() + 1;
  while (std::ssize(job->pages) < std::min(wanted, kMostAhead) && pool_.AcquireReady(preferred, job->pages)) {
    const PageId page = job->pages.back().page();
    ledger_.Moved(page, PageClass::kFree);
    job->ids.push_back(page);
    preferred = page + 1;
  }
  if (job->pages.empty()) {
    return;
  }
  job->slot = static_cast<size_t>(&slot - slots_.data());
  job->address = AddressOf(slot, slot.mapped());
  slot.arriving = std::ssize(job->pages);
  arriving_mappings_ += slot.arriving;
  ahead_.push_back(job);
  parts_.control->Post([this, job] { job->mapped = backend_->Map(job->address, job->ids, true).ok(); },
                       [this, job] { Arrived(*job); });
}

void KvCache::Arrived(AheadJob& job) {
  Slot& slot = slots_[job.slot];
  arriving_mappings_ -= std::exchange(slot.arriving, 0);
  std::erase_if(ahead_, [&](const auto& one) { return one.get() == &job; });
  if (!job.mapped) {
    for (PageRef& page : job.pages) {
      ReleaseRef(page);
    }
    return;
  }
  const size_t first = slot.pages.size();
  std::move(job.pages.begin(), job.pages.end(), std::back_inserter(slot.pages));
  job.pages.clear();
  mappings_ += RunsBegun(slot.pages, first);
  ++counters_.ahead_calls;
  PublishCounts();
}

void KvCache::Settle(Slot& slot) {
  while (slot.arriving > 0) {
    parts_.control->Wait();
  }
}

bool KvCache::Poll() {
  parts_.control->Poll();
  bool progress = parts_.mover->Poll();
  if (keep_ready_ && parts_.control->idle()) {
    MakeReady();
  }
  progress = OfferNext() || progress;
  return progress;
}

void KvCache::SetWake(std::function<void()> wake) {
  parts_.control->SetOnDone(wake);
  parts_.mover->SetOnDone(std::move(wake));
}

// Few pages at a time, so that whoever waits for the control thread does not wait long: first enough that exist, then
// better ones.
void KvCache::MakeReady() {
  const int64_t lacking = options_.ready_pages - pool_.free_pages();
  PagePool::Run run;
  if (lacking > 0) {
    run = pool_.BeginMaking(std::min(lacking, kMostMade));
  }
  const bool make = run.count > 0;
  if (!make && options_.ready_pages > 0) {
    run = pool_.BeginImproving(kMostMade);
  }
  if (run.count == 0) {
    return;
  }
  auto exist = std::make_shared<int64_t>(make ? 0 : run.count);
  PublishCounts();
  parts_.control->Post(
      [this, run, exist] {
        while (*exist < run.count && backend_->Create(run.first + static_cast<PageId>(*exist)).ok()) {
          ++*exist;
        }
        if (*exist > 0) {
          backend_->ImproveRun(run.first, *exist);
        }
      },
      [this, run, exist] {
        keep_ready_ = keep_ready_ && *exist == run.count;  // memory is short: not again before pages are wanted
        pool_.EndMaking(run, *exist);
        PublishCounts();
      });
}

}  // namespace causeway::memory
