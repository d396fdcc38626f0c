// What a KvCache is made of and asked, and what it tells.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/keyed_hash.h"
#include "base/token.h"
#include "memory/budget.h"
#include "memory/control.h"
#include "memory/kv_geometry.h"
#include "memory/page_tier.h"
#include "memory/tenant.h"

namespace causeway::memory {

// How a span begins with pages that others have, too. What it holds and who may see it is the same.
enum class PrefixSpelling : uint8_t {
  kAlias,    // they are mapped again at its own range's beginning
  kSegments  // they are read where they are mapped once for all (a trunk); its own range begins behind them
};

// What measured better (memory/README.md).
inline constexpr PrefixSpelling kLinuxPrefixSpelling = PrefixSpelling::kSegments;

struct KvCacheOptions {
  KvGeometry geometry;
  int64_t max_pages = 0;                // the budget
  int64_t max_spans = 0;                // sequences that hold KV at once
  int64_t positions_per_span = 0;       // the longest context
  Digest prefix_key{};                  // of the prefix index; RandomKey() where clients must not guess keys
  std::vector<TenantLimits> tenants{};  // by TenantId; empty: one, without limits
  int64_t ready_pages = 0;              // free pages that are made ahead, once pages are wanted
  PrefixSpelling prefix_spelling = PrefixSpelling::kAlias;
};

// Helpers of a cache. None of them is needed: then nothing is done ahead, and what leaves is dropped.
struct KvCacheParts {
  std::unique_ptr<PageTier> tier;
  std::unique_ptr<MemoryControl> control;  // edits virtual memory
  std::unique_ptr<MemoryControl> mover;    // reads pages from the tier and from files
};

// The beginning of a sequence, as the prefix index knows it.
struct PrefixQuery {
  std::span<const Digest> keys;   // of its full pages (AppendPrefixKeys)
  std::span<const Token> tokens;  // at least those pages' tokens
  int64_t max_pages = 0;          // to share at most
  TenantId tenant = kDefaultTenant;
};

// Why a page that left the pool is in no tier.
enum class DropReason : uint8_t {
  kNoTier,    // there is none
  kNotWorth,  // computing it again is quicker than reading it
  kRefused,   // the tier would not take it (its own figures say why)
};
inline constexpr size_t kDropReasons = 3;

// Counters that only grow, and figures of now. Pages not yet created count as free.
struct KvCacheStats {
  int64_t budget_pages = 0;
  int64_t live_pages = 0;     // reserved by sequences
  int64_t pinned_pages = 0;   // kept by state objects
  int64_t moving_pages = 0;   // coming back from a tier
  int64_t cached_pages = 0;   // hold a known prefix, and up for taking after the parked ones
  int64_t parked_pages = 0;   // mapped and up for taking
  int64_t created_pages = 0;  // physical pages that exist; times page_bytes: what the system counts
  int64_t making_pages = 0;   // being created or given back by another thread: counted or not
  int64_t page_bytes = 0;
  int64_t mappings = 0;      // runs of pages mapped
  uint64_t map_calls = 0;    // by the engine thread
  uint64_t ahead_calls = 0;  // by the control thread
  uint64_t unmap_calls = 0;
  uint64_t spilled_pages = 0;   // left the pool for a tier
  uint64_t restored_pages = 0;  // came back from one
  uint64_t lost_pages = 0;      // a tier named them and could not read them
  std::array<uint64_t, kDropReasons> dropped_pages{};

  int64_t free_pages() const {
    return budget_pages - live_pages - pinned_pages - moving_pages - cached_pages - parked_pages;
  }
  double usage() const {
    return budget_pages == 0 ? 0.0 : static_cast<double>(live_pages) / static_cast<double>(budget_pages);
  }
};

// The part of KvCacheStats that is not in the ledger.
struct KvCounters {
  std::atomic<int64_t> created_pages{0};
  std::atomic<int64_t> making_pages{0};
  std::atomic<int64_t> mappings{0};
  std::atomic<uint64_t> map_calls{0};
  std::atomic<uint64_t> ahead_calls{0};
  std::atomic<uint64_t> unmap_calls{0};
  std::atomic<uint64_t> spilled_pages{0};
  std::atomic<uint64_t> restored_pages{0};
  std::atomic<uint64_t> lost_pages{0};
  std::array<std::atomic<uint64_t>, kDropReasons> dropped_pages{};
};

}  // namespace causeway::memory
