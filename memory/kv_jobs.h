// What a KvCache has other threads do. Internal to it.
#pragma once

#include <memory>
#include <vector>

#include "memory/page_pool.h"
#include "memory/page_tier.h"
#include "memory/prefix_pin.h"

namespace causeway::memory {

// Pages that the control thread maps behind a range's last one. They count as parked.
struct AheadJob {
  size_t slot = 0;
  std::byte* address = nullptr;
  std::vector<PageRef> pages;
  std::vector<PageId> ids;
  bool mapped = false;  // written by the control thread before it is done
};

// The engine fills it in; the mover reads the pages and says how many are good; the engine puts those into the index.
struct RestoreJob {
  std::vector<Digest> keys;   // of the pages to come
  std::vector<Token> tokens;  // theirs
  TenantId tenant = kDefaultTenant;
  PrefixPin pin;               // what is known of the prefix
  std::vector<PageRef> pages;  // to be read into; count as moving
  std::unique_ptr<PageSource> source;
  bool from_tier = false;  // which then has a copy
  int64_t good = 0;        // written by the mover before it is done
  bool done = false;
  bool abandoned = false;
};

}  // namespace causeway::memory
