// A tier in a map: with bytes, a capacity, and refusals and failed reads on demand.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "memory/page_tier.h"

namespace causeway::memory {

// Pages' bytes, one after the other, of which only the first `good` can be read.
class FakeSource final : public PageSource {
 public:
  FakeSource(std::vector<std::vector<std::byte>> pages, int64_t good) : pages_(std::move(pages)), good_(good) {}

  int64_t Read(const Sink& sink) override {
    int64_t read = 0;
    while (read < std::min(std::ssize(pages_), good_) && sink(read, pages_[static_cast<size_t>(read)])) {
      ++read;
    }
    return read;
  }

 private:
  const std::vector<std::vector<std::byte>> pages_;
  const int64_t good_;
};

class FakeTier final : public PageTier {
 public:
  static constexpr int64_t kAll = int64_t{1} << 40;

  // What outlives a tier that is persistent: hand it to the next one.
  struct Store {
    struct Page {
      std::vector<std::byte> bytes;
      std::vector<Token> tokens;
      Digest parent{};
      TenantId tenant = kDefaultTenant;
      uint64_t last_use = 0;
    };
    std::map<Digest, Page> pages;
    uint64_t clock = 0;
  };

  FakeTier(int64_t page_bytes, int64_t capacity_pages = kAll, bool persistent = false,
           std::shared_ptr<Store> store = std::make_shared<Store>())
      : page_bytes_(page_bytes), capacity_(capacity_pages), persistent_(persistent), store_(std::move(store)) {}

  // ---- Steering ----
  void set_refuses(bool refuses) { refuses_ = refuses; }
  void set_busy_until_flush(bool busy) { busy_ = busy; }
  // Reads begun from now on find no more than this many pages good.
  void set_good_pages(int64_t pages) { good_pages_ = pages; }
  void set_read_rate(double bytes_per_second) { read_rate_ = bytes_per_second; }
  void ForgetOldest() {
    if (!store_->pages.empty()) {
      store_->pages.erase(
          std::ranges::min_element(store_->pages, {}, [](const auto& entry) { return entry.second.last_use; }));
    }
  }
  void ForgetAll() { store_->pages.clear(); }

  int64_t pages() const { return std::ssize(store_->pages); }
  bool Has(const Digest& key) const { return store_->pages.contains(key); }
  const Store& store() const { return *store_; }
  int64_t puts() const { return puts_; }
  int64_t reads() const { return reads_; }
  int64_t flushes() const { return flushes_; }

  // ---- PageTier ----
  bool Put(const PageIdentity& page, const Fill& fill) override {
    ++puts_;
    if (refuses_ || busy_ || capacity_ == 0) {
      return false;
    }
    if (const auto known = store_->pages.find(page.key); known != store_->pages.end()) {
      known->second.last_use = ++store_->clock;
      return true;
    }
    std::vector<std::byte> bytes(static_cast<size_t>(page_bytes_));
    if (!fill(bytes).ok()) {
      return false;
    }
    while (pages() >= capacity_) {
      ForgetOldest();
    }
    store_->pages[page.key] = {
        std::move(bytes), {page.tokens.begin(), page.tokens.end()}, page.parent, page.tenant, ++store_->clock};
    return true;
  }

  int64_t Known(std::span<const Digest> keys, int64_t first, std::span<const Token> tokens, int64_t most) override {
    int64_t known = 0;
    for (auto at = static_cast<size_t>(first); at < keys.size() && known < most; ++at, ++known) {
      const auto page = store_->pages.find(keys[at]);
      if (page == store_->pages.end()) {
        break;
      }
      const size_t size = page->second.tokens.size();
      if (!std::ranges::equal(tokens.subspan(at * size, size), page->second.tokens)) {
        break;
      }
    }
    return known;
  }

  std::unique_ptr<PageSource> BeginRead(std::span<const Digest> keys, int64_t first, int64_t count) override {
    ++reads_;
    std::vector<std::vector<std::byte>> bytes;
    for (const Digest& key : keys.subspan(static_cast<size_t>(first), static_cast<size_t>(count))) {
      store_->pages.at(key).last_use = ++store_->clock;
      bytes.push_back(store_->pages.at(key).bytes);
    }
    return std::make_unique<FakeSource>(std::move(bytes), good_pages_);
  }

  double ReadRate() const override { return read_rate_; }
  bool persistent() const override { return persistent_; }
  void Flush() override {
    ++flushes_;
    busy_ = false;
  }

 private:
  const int64_t page_bytes_;
  const int64_t capacity_;
  const bool persistent_;
  const std::shared_ptr<Store> store_;
  bool refuses_ = false;
  bool busy_ = false;
  int64_t good_pages_ = kAll;
  double read_rate_ = 0;
  int64_t puts_ = 0;
  int64_t reads_ = 0;
  int64_t flushes_ = 0;
};

}  // namespace causeway::memory
