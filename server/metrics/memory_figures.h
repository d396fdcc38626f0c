// What the KV cache and the states hold, at one moment. Read by server/api/memory_report.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "memory/kv_cache_options.h"
#include "memory/tier/page_store_stats.h"
#include "scheduler/engine.h"

namespace causeway::server {

struct TenantFigures {
  memory::TenantLimits limits;
  memory::PageCounts pages;
};

struct AdapterFigures {
  int64_t loaded = 0;
  int64_t unloading = 0;  // requests still hold them
  int64_t max = 0;
  int64_t bytes = 0;    // of all of them
  std::string running;  // names, separated by commas, of those that requests use
  std::string waiting;
};

struct MemoryFigures {
  memory::KvCacheStats kv;
  int64_t page_tokens = 0;
  int64_t max_pages = 0;       // that POST /v1/memory/resize may give
  int64_t physical_bytes = 0;  // as the system counts them
  std::vector<TenantFigures> tenants;
  std::optional<memory::PageStoreStats> tiers;  // none: there are none
  int64_t states = 0;
  int64_t max_states = 0;
  AdapterFigures adapters;
  scheduler::EngineStats engine;
};

}  // namespace causeway::server
