// The KV of a prefix, kept for a state object.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"
#include "memory/kv_cache.h"

namespace causeway::scheduler {

struct Inbox;  // scheduler/channel.h

// Any thread. Destroying the last owner's tells the engine to let the pages go. The cache outlives it.
class PinnedPrefix {
 public:
  PinnedPrefix(memory::PrefixPin pin, const memory::KvCache& kv, std::weak_ptr<Inbox> inbox)
      : pin_(std::move(pin)), kv_(kv), inbox_(std::move(inbox)) {}
  ~PinnedPrefix();
  PinnedPrefix(const PinnedPrefix&) = delete;
  PinnedPrefix& operator=(const PinnedPrefix&) = delete;

  int64_t pages() const { return pin_.pages(); }
  // The bytes [page_bytes] of a page.
  Result<void> ReadPage(int64_t place, std::span<std::byte> to) const { return kv_.ReadPage(pin_.PageAt(place), to); }

 private:
  memory::PrefixPin pin_;
  const memory::KvCache& kv_;
  const std::weak_ptr<Inbox> inbox_;
};

}  // namespace causeway::scheduler
