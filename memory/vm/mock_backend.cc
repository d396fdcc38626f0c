#include "memory/vm/mock_backend.h"

#include <algorithm>
#include <string>

#include "base/check.h"

namespace causeway::memory {
namespace {

// Never dereferenced: an address that no mapping of this process has.
std::byte* const kNowhere = reinterpret_cast<std::byte*>(uintptr_t{1} << 40);
constexpr int64_t kMaxHeapBytes = int64_t{1} << 30;

}  // namespace

Result<void> MockBackend::Count(Call call, const char* what) {
  const auto index = static_cast<size_t>(call);
  ++calls_[index];
  if (fail_in_[index] > 0 && --fail_in_[index] == 0) {
    return MakeError(ErrorCode::kFailedPrecondition, std::string("injected failure of ") + what);
  }
  return {};
}

void MockBackend::CheckRange(const std::byte* address, int64_t pages) const {
  const int64_t offset = address - arena_;
  CHECK(arena_ != nullptr && offset >= 0 && offset % options_.page_bytes == 0);
  CHECK(pages > 0 && offset + pages * options_.page_bytes <= arena_bytes_);
}

Result<std::byte*> MockBackend::ReserveArena(int64_t bytes) {
  CHECK(arena_ == nullptr && bytes > 0);
  if (storage_ == Storage::kHeap) {
    CHECK_MSG(bytes <= kMaxHeapBytes, "an arena of {} bytes on the heap", bytes);
    heap_.resize(static_cast<size_t>(bytes));
  }
  arena_ = storage_ == Storage::kHeap ? heap_.data() : kNowhere;
  arena_bytes_ = bytes;
  return arena_;
}

Result<void> MockBackend::Create(PageId page) {
  TRY(Count(Call::kCreate, "create"));
  CHECK(page < options_.max_pages);
  CHECK(created_.insert(page).second);
  if (storage_ == Storage::kHeap) {
    contents_[page].resize(static_cast<size_t>(options_.page_bytes));
  }
  return {};
}

Result<void> MockBackend::Release(PageId page) {
  TRY(Count(Call::kRelease, "release"));
  for (const auto& mapping : mappings_) {
    CHECK(mapping.second.page != page);
  }
  CHECK(created_.erase(page) == 1);
  contents_.erase(page);
  return {};
}

Result<void> MockBackend::Map(std::byte* address, std::span<const PageId> pages, bool writable) {
  TRY(Count(Call::kMap, "map"));
  CheckRange(address, static_cast<int64_t>(pages.size()));
  for (size_t i = 0; i < pages.size(); ++i) {
    std::byte* const target = At(address, static_cast<int64_t>(i));
    CHECK(created_.contains(pages[i]));
    CHECK(mappings_.emplace(target, Mapping{pages[i], writable}).second);
    if (storage_ == Storage::kHeap) {
      const auto bytes = contents_.find(pages[i]);
      CHECK_MSG(bytes != contents_.end(), "page {} is mapped twice", pages[i]);
      std::copy(bytes->second.begin(), bytes->second.end(), target);
      contents_.erase(bytes);
    }
  }
  return {};
}

Result<void> MockBackend::Protect(std::byte* address, int64_t count, bool writable) {
  TRY(Count(Call::kProtect, "protect"));
  CheckRange(address, count);
  for (int64_t i = 0; i < count; ++i) {
    const auto mapping = mappings_.find(At(address, i));
    CHECK(mapping != mappings_.end());
    mapping->second.writable = writable;
  }
  return {};
}

Result<void> MockBackend::Unmap(std::byte* address, int64_t count) {
  TRY(Count(Call::kUnmap, "unmap"));
  CheckRange(address, count);
  for (int64_t i = 0; i < count; ++i) {
    const auto mapping = mappings_.find(At(address, i));
    CHECK(mapping != mappings_.end());
    if (storage_ == Storage::kHeap) {
      contents_[mapping->second.page].assign(mapping->first, At(mapping->first, 1));
      std::fill(mapping->first, At(mapping->first, 1), std::byte{0xdb});  // a late reader sees rubbish
    }
    mappings_.erase(mapping);
  }
  return {};
}

}  // namespace causeway::memory
