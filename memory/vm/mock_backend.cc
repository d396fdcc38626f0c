#include "memory/vm/mock_backend.h"

#include <string>

#include "base/check.h"

namespace causeway::memory {
namespace {

// Never dereferenced: an address that no mapping of this process has.
std::byte* const kArenaBase = reinterpret_cast<std::byte*>(uintptr_t{1} << 40);

}  // namespace

Result<void> MockBackend::MaybeFail(Call call, const char* what) {
  const auto it = failures_.find(call);
  if (it != failures_.end() && it->second > 0 && --it->second == 0) {
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
  CHECK(arena_ == nullptr);
  arena_ = kArenaBase;
  arena_bytes_ = bytes;
  return arena_;
}

Result<void> MockBackend::Create(PageId page) {
  TRY(MaybeFail(Call::kCreate, "create"));
  CHECK(page < options_.max_pages);
  CHECK(created_.insert(page).second);
  return {};
}

Result<void> MockBackend::Release(PageId page) {
  TRY(MaybeFail(Call::kRelease, "release"));
  for (const auto& mapping : mappings_) {
    CHECK(mapping.second != page);
  }
  CHECK(created_.erase(page) == 1);
  return {};
}

Result<void> MockBackend::Map(std::byte* address, std::span<const PageId> pages, bool) {
  TRY(MaybeFail(Call::kMap, "map"));
  CheckRange(address, static_cast<int64_t>(pages.size()));
  for (size_t i = 0; i < pages.size(); ++i) {
    CHECK(created_.contains(pages[i]));
    CHECK(mappings_.emplace(address + static_cast<int64_t>(i) * options_.page_bytes, pages[i]).second);
  }
  return {};
}

Result<void> MockBackend::Protect(std::byte* address, int64_t count, bool) {
  TRY(MaybeFail(Call::kProtect, "protect"));
  CheckRange(address, count);
  for (int64_t i = 0; i < count; ++i) {
    CHECK(mappings_.contains(address + i * options_.page_bytes));
  }
  return {};
}

Result<void> MockBackend::Unmap(std::byte* address, int64_t count) {
  TRY(MaybeFail(Call::kUnmap, "unmap"));
  CheckRange(address, count);
  for (int64_t i = 0; i < count; ++i) {
    CHECK(mappings_.erase(address + i * options_.page_bytes) == 1);
  }
  return {};
}

}  // namespace causeway::memory
