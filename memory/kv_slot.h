// A range of a KvCache's arena. Internal to it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "memory/page_pool.h"
#include "memory/prefix_index.h"
#include "memory/tenant.h"

namespace causeway::memory {

struct AheadJob;  // kv_jobs.h

// A span's own pages, or a trunk: a range whose pages several spans begin with. A trunk's pages are all sealed; those
// that a user begins with are live, the others cached.
struct KvSlot {
  std::vector<PageRef> pages;  // mapped: a prefix of the range
  int64_t first = 0;           // place of pages[0] in its sequence: the pages before it are the trunk's
  int64_t live = 0;            // of `pages`, reserved by the span's owner
  int64_t sealed = 0;          // of `pages`, in the index
  int64_t arriving = 0;        // being mapped behind them by the control thread
  PrefixIndex::Hold hold;      // of the last sealed one, while the span is in use
  KvSlot* trunk = nullptr;     // has the first pages of the span in use
  int64_t users = 0;           // spans whose trunk this is; it is taken as long as there are some
  TenantId tenant = kDefaultTenant;
  bool taken = false;
  bool publishes = true;  // until a page could not be sealed

  int64_t mapped() const { return static_cast<int64_t>(pages.size()); }
  // How many of the prefix's pages are in place at the beginning of the range.
  int64_t CommonPages(std::span<const PageRef> prefix) const {
    const auto same = [](const PageRef& a, const PageRef& b) { return a.page() == b.page(); };
    return first > 0
               ? 0
               : std::mismatch(pages.begin(), pages.end(), prefix.begin(), prefix.end(), same).first - pages.begin();
  }
  // Of a span in use, its trunk's pages included.
  int64_t places() const { return first + live; }
  int64_t sealed_places() const { return first + sealed; }
  PageId PageAt(int64_t place) const {
    return (place < first ? trunk->pages[static_cast<size_t>(place)] : pages[static_cast<size_t>(place - first)])
        .page();
  }
};

}  // namespace causeway::memory
