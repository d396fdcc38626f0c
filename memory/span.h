// One sequence's contiguous range of virtual memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "memory/vm/vm_backend.h"

namespace causeway::memory {

class KvCache;

// A handle to a slot of a KvCache (which outlives it). Destroying it parks the range. Owner: the engine thread.
class Span {
 public:
  Span() = default;
  Span(Span&& other) noexcept;
  Span& operator=(Span&& other) noexcept;
  ~Span() { Release(); }

  explicit operator bool() const { return cache_ != nullptr; }
  std::byte* base() const;             // position 0
  int64_t mapped_pages() const;        // reserved ones and what was adopted with the range
  int64_t sealed_pages() const;        // at the front: shared or published, not to be written
  PageId sealed_page(int64_t place) const;  // one of them
  int64_t capacity_positions() const;  // positions that may be used now: those reserved, to a full page
  void Release();                      // parks the range now

 private:
  friend class KvCache;
  Span(KvCache* cache, int32_t slot) : cache_(cache), slot_(slot) {}

  KvCache* cache_ = nullptr;
  int32_t slot_ = -1;
};

}  // namespace causeway::memory
