// Known pages that are kept although no sequence has them.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "memory/budget.h"
#include "memory/prefix_index.h"

namespace causeway::memory {

class KvCache;

// Keeps the pages of a prefix: kPinned for a state object, kMoving for a sequence that waits for them. The cache
// outlives it. Owner: the engine thread, but for PageAt, which any thread may call while the pin is there.
class PrefixPin {
 public:
  PrefixPin() = default;
  PrefixPin(PrefixPin&& other) noexcept;
  PrefixPin& operator=(PrefixPin&& other) noexcept;
  ~PrefixPin() { Reset(); }

  explicit operator bool() const { return cache_ != nullptr; }
  int64_t pages() const { return static_cast<int64_t>(pages_.size()); }
  PageId PageAt(int64_t place) const { return pages_[static_cast<size_t>(place)]; }
  void Reset();
  // From now on a state object's: the pages are pinned, no longer moving.
  void BecomePinned();

 private:
  friend class KvCache;
  KvCache* cache_ = nullptr;
  PageClass reason_ = PageClass::kPinned;
  PrefixIndex::Hold hold_;
  std::vector<PageId> pages_;  // in the index, all of them
};

struct RestoreJob;  // kv_jobs.h

// Pages on their way from a tier or a file into the prefix index. Destroying it gives up the claim on them; those that
// arrived stay cached. Owner: the engine thread.
class Restoring {
 public:
  explicit Restoring(std::shared_ptr<RestoreJob> job) : job_(std::move(job)) {}
  Restoring(Restoring&&) noexcept = default;
  Restoring& operator=(Restoring&& other) noexcept;
  ~Restoring() { Abandon(); }

  bool done() const;      // KvCache::Poll makes it so
  int64_t pages() const;  // of the prefix that are known, once done
  // Moves the claim on them over, once done.
  PrefixPin TakePin();

 private:
  void Abandon();
  std::shared_ptr<RestoreJob> job_;
};

}  // namespace causeway::memory
