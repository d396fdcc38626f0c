// What the tests of the tiers share: chains of pages whose bytes tell whose they are, files that fail to order.
#pragma once

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>

#include "base/bounded_queue.h"
#include "base/rng.h"
#include "memory/tier/page_store.h"
#include "tests/support/test_folder.h"

namespace causeway::memory {

inline constexpr int64_t kTierPage = 4096;
inline constexpr int64_t kTierTokens = 4;

// A chain of pages of one tenant. Two chains of the same name are the same.
class TestChain {
 public:
  TestChain(uint64_t name, int64_t pages, uint32_t tenant = 0) : tenant_(tenant), keys_(static_cast<size_t>(pages)) {
    std::memcpy(root_.data(), &name, sizeof name);
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
    return {keys_[at], place == 0 ? root_ : keys_[at - 1], place, tenant_,
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
  int64_t Known(const PageStore& store, int64_t first = 0) const {
    return store.Known(keys_, first, tokens_, pages());
  }
  // How many pages from `first` on are read; fails the test if one has other bytes than it should.
  int64_t Read(PageStore& store, int64_t first = 0) const {
    const int64_t known = Known(store, first);
    const ReadTicket ticket = store.BeginRead(keys_, first, known);
    EXPECT_LE(ticket.pages(), known);  // fewer where a write failed in between
    return ReadTicketPages(store, ticket, first);
  }
  int64_t ReadTicketPages(PageStore& store, const ReadTicket& ticket, int64_t first = 0) const {
    return store.Read(ticket, [&](int64_t i, std::span<const std::byte> bytes) {
      EXPECT_EQ(static_cast<int64_t>(bytes.size()), kTierPage);
      EXPECT_TRUE(IsPage(first + i, bytes)) << "page " << first + i << " has another page's bytes";
      return true;
    });
  }

 private:
  const uint32_t tenant_;
  Digest root_{};
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

// The system's files, but: no sync (a process that ends loses nothing that was written), transfers one by one, and what
// a test orders.
class TestOps : public FileOps {
 public:
  // The calls from here on, counted from 1: the n-th fails, or it and all after it (the process was killed in it: a
  // write is done in part).
  void FailAt(int64_t n) { Arm(n, false); }
  void DieAt(int64_t n) { Arm(n, true); }
  void Mend() { Arm(0, false); }
  int64_t calls() const { return calls_; }
  bool failed() const { return failed_; }

  std::atomic<int64_t> room = int64_t{1} << 60;  // bytes that Allocate can give a file
  std::atomic<bool> direct = true;               // whether O_DIRECT is known
  std::atomic<bool> bad_reads = false;

  // Writes wait until it is opened again.
  void ShutGate(bool shut) {
    const std::lock_guard lock(mutex_);
    shut_ = shut;
    opened_.notify_all();
  }

  int MakeFolder(const std::string& path) override { return Fails() ? -EIO : FileOps::MakeFolder(path); }
  int Open(const std::string& path, int flags) override {
    if ((flags & O_DIRECT) != 0 && !direct) {
      return -EINVAL;
    }
    return Fails() ? -EIO : FileOps::Open(path, flags & ~O_DIRECT);
  }
  int LockFile(int file) override { return Fails() ? -EIO : FileOps::LockFile(file); }
  int64_t Size(int file) override { return Fails() ? -EIO : FileOps::Size(file); }
  int64_t Read(int file, std::span<std::byte> to, int64_t offset) override {
    return bad_reads || Fails() ? -EIO : FileOps::Read(file, to, offset);
  }
  int64_t Write(int file, std::span<const std::byte> from, int64_t offset) override {
    {
      std::unique_lock lock(mutex_);
      opened_.wait(lock, [&] { return !shut_; });
    }
    if (Fails()) {
      if (calls_ == fail_at_) {
        FileOps::Write(file, from.first(from.size() / 2), offset);
      }
      return -EIO;
    }
    return FileOps::Write(file, from, offset);
  }
  int Sync(int /*file*/) override { return Fails() ? -EIO : 0; }
  int Allocate(int file, int64_t bytes) override {
    if (bytes > room) {
      return -ENOSPC;
    }
    return Fails() ? -EIO : FileOps::Allocate(file, bytes);
  }
  int Truncate(int file, int64_t bytes) override { return Fails() ? -EIO : FileOps::Truncate(file, bytes); }
  int Rename(const std::string& from, const std::string& to) override {
    return Fails() ? -EIO : FileOps::Rename(from, to);
  }
  int Remove(const std::string& path) override { return Fails() ? -EIO : FileOps::Remove(path); }
  std::unique_ptr<IoQueue> NewQueue(int file, int /*depth*/) override { return MakeBlockingQueue(*this, file); }

 private:
  void Arm(int64_t n, bool stay_dead) {
    calls_ = 0;
    failed_ = false;
    stay_dead_ = stay_dead;
    fail_at_ = n;
  }
  bool Fails() {
    const int64_t call = ++calls_;
    const int64_t at = fail_at_;
    const bool fails = at > 0 && (call == at || (stay_dead_ && call > at));
    failed_ = failed_ || fails;
    return fails;
  }

  std::atomic<int64_t> calls_ = 0;
  std::atomic<int64_t> fail_at_ = 0;
  std::atomic<bool> stay_dead_ = false;
  std::atomic<bool> failed_ = false;
  std::mutex mutex_;
  std::condition_variable opened_;
  bool shut_ = false;
};

}  // namespace causeway::memory
