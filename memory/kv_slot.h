// A range of a KvCache's arena. Internal to it.
#pragma once

#include <cstdint>
#include <vector>

#include "memory/page_pool.h"
#include "memory/prefix_index.h"
#include "memory/tenant.h"

namespace causeway::memory {

struct KvSlot {
  std::vector<PageRef> pages;  // mapped: a prefix of the range
  int64_t live = 0;            // of these, reserved by the span's owner
  int64_t sealed = 0;          // of these, in the index
  int64_t arriving = 0;        // being mapped behind them by the control thread
  PrefixIndex::Hold hold;      // of the last sealed one, while the span is in use
  TenantId tenant = kDefaultTenant;
  bool taken = false;
  bool publishes = true;  // until a page could not be sealed

  int64_t mapped() const { return static_cast<int64_t>(pages.size()); }
};

}  // namespace causeway::memory
