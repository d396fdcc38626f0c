// What the tiers hold and what became of the pages that they were given.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string_view>

#include "memory/tenant.h"

namespace causeway::memory {

enum class Tier : uint8_t { kHost, kDisk };
inline constexpr size_t kTiers = 2;

// Why a page was not kept, or not kept on disk.
enum class PageLoss : uint8_t {
  kFull,        // every page there is in use or under the floor of its tenant
  kQuota,       // the tenant's own quota, all of it in use
  kQueueFull,   // the disk does not take pages as fast as they come
  kUnwritten,   // left host memory before the disk took it
  kFillFailed,  // its bytes could not be read
  kKeyClash,    // another page has this key
  kDiskFailed,  // a write failed, or the disk is left alone because many did
  kNoMemory,    // the system had no memory for a slot
};
inline constexpr size_t kPageLosses = 8;
// Snake-case name ("queue_full"), for metrics and logs.
std::string_view PageLossName(PageLoss loss);

// Bytes count whole slots: a page's bytes rounded up to 4 KiB.
struct TierStats {
  int64_t capacity_bytes = 0;
  int64_t pages = 0;
  int64_t bytes = 0;
  int64_t evictions = 0;         // pages that made room for others
  int64_t pages_read = 0;        // good
  double read_bytes_per_s = 0;   // as measured lately, with the sink's time; 0: not yet
  double write_bytes_per_s = 0;  // as measured lately; 0: not yet
  std::map<TenantId, int64_t> tenant_bytes;
};

struct PageStoreStats {
  std::array<TierStats, kTiers> tiers;        // by Tier
  int64_t pages = 0;                          // that are known; one in both tiers counts once
  int64_t puts = 0;                           // of pages that were not known
  int64_t touches = 0;                        // of pages that were
  std::array<int64_t, kPageLosses> losses{};  // by PageLoss
  int64_t corrupt = 0;                        // extents whose checksum did not hold
  int64_t read_errors = 0;                    // of the disk
  int64_t write_errors = 0;                   // of the disk, transfers and records
  int64_t queued_writes = 0;
  bool disk_writable = false;  // false also where there is no disk tier

  const TierStats& tier(Tier tier) const { return tiers[static_cast<size_t>(tier)]; }
  int64_t lost(PageLoss loss) const { return losses[static_cast<size_t>(loss)]; }
};

}  // namespace causeway::memory
