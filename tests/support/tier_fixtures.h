// What the tests of the tiers share: chains of pages whose bytes tell whose they are.
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/rng.h"
#include "memory/tier/page_store.h"
#include "tests/support/test_file_ops.h"
#include "tests/support/test_folder.h"

namespace causeway::memory {

inline constexpr int64_t kTierPage = 4096;
inline constexpr int64_t kTierTokens = 4;

// A folder in memory where the system has such a place: renames and new files cost a disk write each elsewhere.
class QuickFolder : public TestFolder {
 public:
  QuickFolder() : TestFolder(Parent()) {}

 private:
  static std::filesystem::path Parent() {
    std::error_code missing;
    const std::filesystem::path memory = "/dev/shm";
    return std::filesystem::is_directory(memory, missing) ? memory : std::filesystem::temp_directory_path();
  }
};

// A chain of pages of one tenant. Two chains of the same name are the same.
class TestChain {
 public:
  TestChain(uint64_t name, int64_t pages, TenantId tenant = 0) : tenant_(tenant), keys_(static_cast<size_t>(pages)) {
    for (int64_t i = 0; i < pages; ++i) {
      for (uint64_t word = 0; word < 4; ++word) {
        const uint64_t bits = RandomBits(name, static_cast<uint64_t>(i), word);
        std::memcpy(keys_[static_cast<size_t>(i)].data() + word * 8, &bits, sizeof bits);
      }
    }
    for (int64_t i = 0; i < pages * kTierTokens; ++i) {
      tokens_.push_back(static_cast<Token>(RandomBits(name, 7, static_cast<uint64_t>(i)) % 1000));
    }
  }

  int64_t pages() const { return static_cast<int64_t>(keys_.size()); }
  std::span<const Digest> keys() const { return keys_; }
  std::span<const Token> tokens() const { return tokens_; }
  PageIdentity Page(int64_t place) const {
    const auto at = static_cast<size_t>(place);
    return {keys_[at], place == 0 ? Digest{} : keys_[at - 1], place, tenant_,
            tokens().subspan(at * kTierTokens, kTierTokens)};
  }
  // The page's bytes, all of them a function of whose they are and of where.
  void Fill(int64_t place, std::span<std::byte> bytes) const {
    uint64_t seed = 0;
    std::memcpy(&seed, keys_[static_cast<size_t>(place)].data(), sizeof seed);
    for (size_t i = 0; i + 8 <= bytes.size(); i += 8) {
      const uint64_t word = Mix64(seed + i);
      std::memcpy(bytes.data() + i, &word, sizeof word);
    }
  }
  bool IsPage(int64_t place, std::span<const std::byte> bytes) const {
    std::vector<std::byte> expected(bytes.size());
    Fill(place, expected);
    return std::equal(expected.begin(), expected.end(), bytes.begin());
  }

  bool Put(PageStore& store, int64_t place) const {
    return store.Put(Page(place), [&](std::span<std::byte> bytes) -> Result<void> {
      Fill(place, bytes);
      return {};
    });
  }
  // End before beginning, as a user of the store does; how many were taken.
  int64_t PutAll(PageStore& store) const {
    int64_t taken = 0;
    for (int64_t place = pages(); place-- > 0;) {
      taken += Put(store, place) ? 1 : 0;
    }
    return taken;
  }
  int64_t Known(PageStore& store, int64_t first = 0) const { return store.Known(keys_, first, tokens_, pages()); }
  // How many pages from `first` on are read; fails the test if one has other bytes than it should.
  int64_t Read(PageStore& store, int64_t first = 0) const {
    return Read(*store.BeginRead(keys_, first, Known(store, first)), first);
  }
  int64_t Read(PageSource& source, int64_t first) const {
    return source.Read([&](int64_t i, std::span<const std::byte> bytes) {
      EXPECT_EQ(static_cast<int64_t>(bytes.size()), kTierPage);
      EXPECT_TRUE(IsPage(first + i, bytes)) << "page " << first + i << " has another page's bytes";
      return true;
    });
  }

 private:
  const TenantId tenant_;
  std::vector<Digest> keys_;
  std::vector<Token> tokens_;
};

inline PageStoreOptions TierOptions(int64_t host_pages, int64_t disk_pages, const std::string& folder) {
  PageStoreOptions options;
  options.page_bytes = kTierPage;
  options.tokens_per_page = kTierTokens;
  options.host_bytes = host_pages * kTierPage;
  options.disk_bytes = disk_pages * kTierPage;
  options.folder = disk_pages > 0 ? folder : "";
  return options;
}

inline std::unique_ptr<PageStore> OpenStore(const PageStoreOptions& options, FileOps* ops = nullptr) {
  auto store = PageStore::Open(options, ops);
  EXPECT_TRUE(store.ok()) << store.error().message;
  return std::move(store).value();
}

}  // namespace causeway::memory
