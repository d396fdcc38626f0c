// Host memory in slots of a page each: the bytes of the host tier, or the staging buffers in front of the disk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"

namespace causeway::memory {

// Bytes that a page takes in every tier: whole system pages, as direct I/O wants it.
constexpr int64_t SlotBytes(int64_t page_bytes) { return (page_bytes + 4095) / 4096 * 4096; }

// One anonymous mapping. Address space is taken at once, memory when a slot is first used; then it stays.
// Which slot is whose, PageTable knows.
class PageSlots {
 public:
  // kResourceExhausted where there is no address space.
  static Result<PageSlots> Create(int64_t slots, int64_t slot_bytes);
  PageSlots() = default;
  PageSlots(PageSlots&& other) noexcept;
  PageSlots& operator=(PageSlots&& other) noexcept;
  ~PageSlots();

  // The bytes of a slot [slot_bytes], aligned to the system's page. What lies behind a page's bytes is zero.
  std::span<std::byte> operator[](int32_t slot) const {
    return {base_ + slot * slot_bytes_, static_cast<size_t>(slot_bytes_)};
  }
  // Backs the slot with memory now; false where there is none. One thread at a time.
  bool Prefault(int32_t slot);

 private:
  std::byte* base_ = nullptr;
  int64_t slot_bytes_ = 0;
  std::vector<bool> backed_;  // [slots]
};

}  // namespace causeway::memory
