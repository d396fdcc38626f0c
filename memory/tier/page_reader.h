// Reads pages of a source, several from disk at once, and checks what it read.
#pragma once

#include <array>
#include <memory>
#include <span>

#include "base/clock.h"
#include "memory/tier/extent_file.h"
#include "memory/tier/index_log.h"
#include "memory/tier/page_slots.h"
#include "memory/tier/page_store_stats.h"
#include "memory/tier/page_table.h"
#include "memory/tier/rate_meter.h"

namespace causeway::memory {

// Used by one thread at a time; rates by any.
class PageReader {
 public:
  // `extents` is null where there is no disk tier. All references outlive the reader.
  PageReader(PageTable& table, const PageSlots& slots, const ExtentFile* extents, const LogFormat& format);

  // As PageSource::Read. A page that cannot be read, or is not what was written, ends it, and is not known any more.
  int64_t Read(std::span<const PageTable::Pinned> pages, const PageSource::Sink& sink);

  double bytes_per_s(Tier tier) const { return meters_[static_cast<size_t>(tier)].rate(); }
  double bytes_per_s() const { return meter_.rate(); }  // of both, as they were mixed

 private:
  static constexpr size_t kDepth = 8;  // reads under way

  void Begin(const PageTable::Pinned& page, size_t at);
  std::span<const std::byte> Finish(const PageTable::Pinned& page, size_t at);
  void Unreadable(const PageTable::Pinned& page, int error);

  PageTable& table_;
  const PageSlots& slots_;
  const ExtentFile* const extents_;
  const LogFormat format_;
  std::array<RateMeter, kTiers> meters_;
  RateMeter meter_;

  PageSlots buffers_;  // [kDepth]
  std::unique_ptr<IoQueue> queue_;
  std::array<IoRequest, kDepth> requests_;
  WarningGate gate_;
};

}  // namespace causeway::memory
