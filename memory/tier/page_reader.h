// Reads pages of a ticket, several from disk at once, and checks what it read.
#pragma once

#include <array>
#include <memory>
#include <span>

#include "base/clock.h"
#include "base/function_ref.h"
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
  using Sink = FunctionRef<bool(int64_t, std::span<const std::byte>)>;

  // `extents` is null where there is no disk tier. All references outlive the reader.
  PageReader(PageTable& table, const PageSlots& slots, const ExtentFile* extents, const LogFormat& format);

  // As PageStore::Read.
  int64_t Read(std::span<const PageTable::Pinned> pages, Sink sink);

  double bytes_per_s(Tier tier) const { return meters_[static_cast<size_t>(tier)].rate(); }

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

  PageSlots buffers_;  // [kDepth]
  std::unique_ptr<IoQueue> queue_;
  std::array<IoRequest, kDepth> requests_;
  WarningGate gate_;
};

}  // namespace causeway::memory
