#include "memory/tier/page_slots.h"

#include <cerrno>
#include <utility>

#include <sys/mman.h>

#include "base/check.h"
#include "memory/tier/file_ops.h"

namespace causeway::memory {

Result<PageSlots> PageSlots::Create(int64_t slots, int64_t slot_bytes) {
  CHECK(slots > 0 && slot_bytes > 0);
  const auto bytes = static_cast<size_t>(slots * slot_bytes);
  void* const base = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) {
    return MakeError(ErrorCode::kResourceExhausted,
                     fmt::format("no address space for {} bytes of the host tier: {}", bytes, ErrorText(errno)));
  }
  ::madvise(base, bytes, MADV_HUGEPAGE);  // cheaper copies where the system has huge pages to give
  PageSlots result;
  result.base_ = static_cast<std::byte*>(base);
  result.slot_bytes_ = slot_bytes;
  result.backed_.resize(static_cast<size_t>(slots));
  return result;
}

PageSlots::PageSlots(PageSlots&& other) noexcept { *this = std::move(other); }

PageSlots& PageSlots::operator=(PageSlots&& other) noexcept {
  std::swap(base_, other.base_);
  std::swap(slot_bytes_, other.slot_bytes_);
  std::swap(backed_, other.backed_);
  return *this;
}

PageSlots::~PageSlots() {
  if (base_ != nullptr) {
    ::munmap(base_, backed_.size() * static_cast<size_t>(slot_bytes_));
  }
}

bool PageSlots::Prefault(int32_t slot) {
  const auto at = static_cast<size_t>(slot);
  if (!backed_[at]) {
    const std::span<std::byte> bytes = (*this)[slot];
    // Kernels before 5.14 do not know the call (EINVAL): there the first touch backs it.
    backed_[at] = ::madvise(bytes.data(), bytes.size(), MADV_POPULATE_WRITE) == 0 || errno == EINVAL;
  }
  return backed_[at];
}

}  // namespace causeway::memory
