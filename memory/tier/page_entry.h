// A page that the tiers know, and where its bytes are.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "memory/tier/checksum.h"

namespace causeway::memory {

inline constexpr int32_t kNowhere = -1;

// Owner: PageTable, under its lock; what is constant, the I/O thread reads without it while `writing`.
struct PageEntry {
  // Constant.
  Digest key{};
  Digest parent{};
  int64_t place = 0;
  TenantId tenant = 0;
  std::vector<Token> tokens;

  int32_t slot = kNowhere;    // in host memory
  int32_t extent = kNowhere;  // on disk; its bytes are there once `on_disk`
  bool on_disk = false;
  bool writing = false;   // a write of slot to extent is queued or under way
  int64_t pins = 0;       // of sources, and of a Put that gives the page a slot again
  uint64_t last_use = 0;  // of itself or of a page behind it that has gone
  uint64_t waiting = 0;   // its place among the pages that wait for the write queue; 0: it does not wait
  Checksum checksum;      // of the extent

  // Orders pages by when they go; unique, for a page takes last_use only from one that is behind it in its chain.
  using Use = std::pair<uint64_t, int64_t>;
  Use use() const { return {last_use, -place}; }

  bool Readable() const { return slot != kNowhere || on_disk; }
  bool MayGo() const { return pins == 0 && !writing; }
  PageIdentity Identity() const { return {key, parent, place, tenant, tokens}; }
};

}  // namespace causeway::memory
