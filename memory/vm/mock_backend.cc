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
  const std::lock_guard lock(mutex_);
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
  const std::lock_guard lock(mutex_);
  TRY(Count(Call::kCreate, "create"));
  CHECK(page < options_.max_pages);
  CHECK(created_.insert(page).second);
  if (storage_ == Storage::kHeap) {
    contents_[page].resize(static_cast<size_t>(options_.page_bytes));
  }
  return {};
}

Result<void> MockBackend::Release(PageId page) {
  const std::lock_guard lock(mutex_);
  TRY(Count(Call::kRelease, "release"));
  CHECK(!aliases_.contains(page));
  CHECK(created_.erase(page) == 1);
  contents_.erase(page);
  return {};
}

std::byte* MockBackend::MappingOf(PageId page) const {
  const auto it = aliases_.find(page);
  return it == aliases_.end() ? nullptr : *it->second.begin();
}

void MockBackend::MapOne(std::byte* target, PageId page, bool writable) {
  CHECK(created_.contains(page));
  std::byte* const alias = MappingOf(page);
  CHECK_MSG(alias == nullptr || (!writable && !mappings_.at(alias).writable), "page {} has a writer and an alias",
            page);
  CHECK(mappings_.emplace(target, Mapping{page, writable}).second);
  aliases_[page].insert(target);
  if (storage_ == Storage::kHeap) {
    const std::byte* const bytes = alias != nullptr ? alias : contents_.at(page).data();
    std::copy(bytes, bytes + options_.page_bytes, target);
    contents_.erase(page);
  }
}

void MockBackend::UnmapOne(std::byte* target) {
  const auto mapping = mappings_.find(target);
  CHECK(mapping != mappings_.end());
  const PageId page = mapping->second.page;
  mappings_.erase(mapping);
  if (auto& all = aliases_.at(page); all.erase(target) == 1 && all.empty()) {
    aliases_.erase(page);
  }
  if (storage_ == Storage::kHeap) {
    if (MappingOf(page) == nullptr) {
      contents_[page].assign(target, At(target, 1));
    }
    std::fill(target, At(target, 1), std::byte{0xdb});  // a late reader sees rubbish
  }
}

Result<void> MockBackend::Map(std::byte* address, std::span<const PageId> pages, bool writable) {
  const std::lock_guard lock(mutex_);
  TRY(Count(Call::kMap, "map"));
  CheckRange(address, static_cast<int64_t>(pages.size()));
  for (size_t i = 0; i < pages.size(); ++i) {
    MapOne(At(address, static_cast<int64_t>(i)), pages[i], writable);
  }
  return {};
}

Result<void> MockBackend::Replace(std::byte* address, PageId page, bool writable) {
  const std::lock_guard lock(mutex_);
  TRY(Count(Call::kReplace, "replace"));
  CheckRange(address, 1);
  UnmapOne(address);
  MapOne(address, page, writable);
  return {};
}

Result<void> MockBackend::Protect(std::byte* address, int64_t count, bool writable) {
  const std::lock_guard lock(mutex_);
  TRY(Count(Call::kProtect, "protect"));
  CheckRange(address, count);
  for (int64_t i = 0; i < count; ++i) {
    mappings_.at(At(address, i)).writable = writable;
  }
  return {};
}

Result<void> MockBackend::Copy(std::byte* to, const std::byte* from) {
  const std::lock_guard lock(mutex_);
  TRY(Count(Call::kCopy, "copy"));
  CheckRange(from, 1);
  CHECK(mappings_.contains(const_cast<std::byte*>(from)) && mappings_.at(to).writable);
  if (storage_ == Storage::kHeap) {
    std::copy(from, from + options_.page_bytes, to);
  }
  return {};
}

Result<void> MockBackend::ReadPage(PageId page, std::span<std::byte> to) {
  const std::lock_guard lock(mutex_);
  TRY(Count(Call::kRead, "read"));
  CHECK(created_.contains(page) && static_cast<int64_t>(to.size()) == options_.page_bytes);
  if (storage_ == Storage::kHeap) {
    const std::byte* const mapped = MappingOf(page);
    std::copy_n(mapped != nullptr ? mapped : contents_.at(page).data(), to.size(), to.data());
  }
  return {};
}

Result<void> MockBackend::WritePage(PageId page, std::span<const std::byte> from) {
  const std::lock_guard lock(mutex_);
  TRY(Count(Call::kWrite, "write"));
  CHECK(created_.contains(page) && static_cast<int64_t>(from.size()) == options_.page_bytes);
  if (storage_ == Storage::kHeap) {
    if (const auto it = aliases_.find(page); it != aliases_.end()) {
      for (std::byte* const alias : it->second) {
        std::copy(from.begin(), from.end(), alias);
      }
    } else {
      contents_.at(page).assign(from.begin(), from.end());
    }
  }
  return {};
}

Result<void> MockBackend::Unmap(std::byte* address, int64_t count) {
  const std::lock_guard lock(mutex_);
  TRY(Count(Call::kUnmap, "unmap"));
  CheckRange(address, count);
  for (int64_t i = 0; i < count; ++i) {
    UnmapOne(At(address, i));
  }
  return {};
}

}  // namespace causeway::memory
