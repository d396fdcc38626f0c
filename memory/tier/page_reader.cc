#include "memory/tier/page_reader.h"

#include <cerrno>

#include "base/log.h"

namespace causeway::memory {

PageReader::PageReader(PageTable& table, const PageSlots& slots, const ExtentFile* extents, const LogFormat& format)
    : table_(table), slots_(slots), extents_(extents), format_(format) {
  if (extents != nullptr) {
    queue_ = extents->NewQueue(kDepth);
    if (auto buffers = PageSlots::Create(kDepth, SlotBytes(format.page_bytes)); buffers.ok()) {
      buffers_ = std::move(buffers).value();
    } else {
      LOG_WARNING("the disk tier cannot be read: {}", buffers.error().message);
      queue_ = nullptr;
    }
  }
}

// Starts the read of a page, if it is on disk alone, into buffer `at`.
void PageReader::Begin(const PageTable::Pinned& page, size_t at) {
  IoRequest& request = requests_[at];
  request = IoRequest();
  if (page.slot != kNowhere || queue_ == nullptr || !buffers_.Prefault(static_cast<int32_t>(at))) {
    request.error = ENOMEM;  // should anybody ask for it
    request.done = true;
    return;
  }
  request.offset = extents_->Offset(page.extent);
  request.bytes = buffers_[static_cast<int32_t>(at)];
  queue_->Submit(request);
}

// The page's bytes, or none.
std::span<const std::byte> PageReader::Finish(const PageTable::Pinned& page, size_t at) {
  const auto bytes = static_cast<size_t>(format_.page_bytes);
  if (page.slot != kNowhere) {
    return slots_[page.slot].first(bytes);
  }
  if (!requests_[at].done) {
    queue_->Wait(requests_[at]);
  }
  if (requests_[at].error != 0) {
    Unreadable(page, requests_[at].error);
    return {};
  }
  const std::span<const std::byte> read = buffers_[static_cast<int32_t>(at)].first(bytes);
  if (PageChecksum(format_.fingerprint, page.entry->Identity(), read) != page.checksum) {
    Unreadable(page, 0);
    return {};
  }
  return read;
}

void PageReader::Unreadable(const PageTable::Pinned& page, int error) {
  table_.ReportUnreadable(page, error == 0);
  if (gate_.Pass(Clock::now())) {
    LOG_WARNING("the disk tier lost a page (extent {}): {}; its tokens are computed again", page.extent,
                error == 0 ? "its bytes are not those that were written" : ErrorText(error));
  }
}

int64_t PageReader::Read(std::span<const PageTable::Pinned> pages, const PageSource::Sink& sink) {
  std::array<int64_t, kTiers> good{};
  std::array<Duration, kTiers> time{};
  size_t begun = 0;
  size_t done = 0;
  Instant before = Clock::now();
  for (; done < pages.size(); ++done) {
    for (; begun < pages.size() && begun < done + kDepth; ++begun) {
      Begin(pages[begun], begun % kDepth);
    }
    const std::span<const std::byte> bytes = Finish(pages[done], done % kDepth);
    if (bytes.empty() || !sink(static_cast<int64_t>(done), bytes)) {
      break;
    }
    const size_t tier = static_cast<size_t>(pages[done].slot != kNowhere ? Tier::kHost : Tier::kDisk);
    const Instant now = Clock::now();
    ++good[tier];
    time[tier] += now - before;
    before = now;
  }
  for (size_t i = done; i < begun; ++i) {  // an early end: no transfer may outlive its buffer
    if (IoRequest& request = requests_[i % kDepth]; !request.done) {
      queue_->Wait(request);
    }
  }
  for (const Tier tier : {Tier::kHost, Tier::kDisk}) {
    const auto at = static_cast<size_t>(tier);
    table_.ReportRead(tier, good[at]);
    meters_[at].Add(good[at] * format_.page_bytes, time[at]);
  }
  meter_.Add(static_cast<int64_t>(done) * format_.page_bytes, time[0] + time[1]);
  return static_cast<int64_t>(done);
}

}  // namespace causeway::memory
