// One sequence's KV in virtual memory: a contiguous range, or a shared one and its own behind it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "memory/vm/vm_backend.h"

namespace causeway::memory {

class KvCache;

// One contiguous virtual range of a sequence's KV, whole pages.
struct SpanSegment {
  std::byte* base = nullptr;  // of first_position
  int64_t first_position = 0;
  int64_t positions = 0;
};

// The ranges of a span, ascending, without gaps: one, or a trunk's and its own.
class SpanSegments {
 public:
  void Add(const SpanSegment& segment) { of_[count_++] = segment; }
  std::span<const SpanSegment> list() const { return {of_.data(), count_}; }

 private:
  std::array<SpanSegment, 2> of_;
  size_t count_ = 0;
};

// A handle to a slot of a KvCache (which outlives it). Destroying it parks the range. Owner: the engine thread.
class Span {
 public:
  Span() = default;
  Span(Span&& other) noexcept;
  Span& operator=(Span&& other) noexcept;
  ~Span() { Release(); }

  explicit operator bool() const { return cache_ != nullptr; }
  SpanSegments segments() const;         // the positions that may be used now
  std::byte* page(int64_t place) const;  // where the page of positions place * tokens_per_page... lies, mapped or not
  std::byte* base() const { return page(0); }
  int64_t mapped_pages() const;             // reserved ones and what was adopted with the range
  int64_t sealed_pages() const;             // at the front: shared or published, not to be written
  PageId sealed_page(int64_t place) const;  // one of them
  int64_t capacity_positions() const;       // positions that may be used now: those reserved, to a full page
  void Release();                           // parks the range now

 private:
  friend class KvCache;
  Span(KvCache* cache, int32_t slot) : cache_(cache), slot_(slot) {}

  KvCache* cache_ = nullptr;
  int32_t slot_ = -1;
};

}  // namespace causeway::memory
