// The KV cache driven at random against a naive model, on every backend: who may write where, whose bytes lie there,
// what the ledger says. On the mock, every call of the backend is made to fail in turn, and a call that fails changes
// nothing that its caller can see.
#include <map>
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "base/rng.h"
#include "tests/support/kv_fixtures.h"
#include "tests/support/run_scale.h"

namespace causeway::memory {
namespace {

constexpr int64_t kPages = 24;
constexpr int64_t kSpans = 5;
constexpr int64_t kPagesPerSpan = 9;

// A map from page number to the tag that was written there: all that a span is to its user.
struct Owned {
  Span span;
  std::vector<uint64_t> tags;
};

class KvCacheWalk {
 public:
  KvCacheWalk(const std::string& backend, uint64_t seed) : seed_(seed) {
    const KvCacheOptions options = TestCacheOptions(kPages, kSpans, kPagesPerSpan);
    if (backend == "mock") {
      MockedCache mocked = MakeMockedCache(options, MockBackend::Storage::kHeap);
      cache_ = std::move(mocked.cache);
      mock_ = mocked.mock;
      // Sometimes few mappings: then a fragmented pool refuses what the budget would allow.
      mock_->set_max_mappings(Draw(0, 2) == 0 ? kSpans + Draw(3, kPages) : int64_t{1} << 20);
    } else {
      cache_ = KvCache::Create(options, MakeTestBackend(backend, kPages)).value();
    }
  }

  // `fail_every`: the n-th call of the backend from each operation on fails (0: none).
  void Run(int64_t operations, int fail_every) {
    for (int64_t i = 0; i < operations && !testing::Test::HasFailure(); ++i) {
      if (mock_ != nullptr && fail_every > 0) {
        mock_->FailNth(static_cast<VmCall>(Draw(0, kVmCalls - 1)), fail_every);
      }
      switch (Draw(0, 9)) {
        case 0:
        case 1: Admit(); break;
        case 2: Free(); break;
        case 3: Draw(0, 7) == 0 ? Trim() : Move(); break;
        default: Append(); break;
      }
      Check();
    }
    owned_.clear();
    EXPECT_EQ(cache_->Stats().live_pages, 0);
    for (size_t i = 0; mock_ != nullptr && i < kVmCalls; ++i) {
      mock_->FailNth(static_cast<VmCall>(i), 0);
    }
    ASSERT_TRUE(cache_->Trim().ok());
    EXPECT_EQ(cache_->Stats().created_pages, 0);
    EXPECT_EQ(cache_->Stats().mappings, 0);
    EXPECT_EQ(cache_->backend().PhysicalBytes(), 0);
  }

  int64_t refusals() const { return refusals_; }
  int64_t failures() const { return failures_; }

 private:
  int64_t Draw(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(RandomBits(seed_, 0, draws_++) % static_cast<uint64_t>(high - low + 1));
  }

  Owned* Any() { return owned_.empty() ? nullptr : &owned_[static_cast<size_t>(Draw(0, std::ssize(owned_) - 1))]; }
  int64_t LivePages() const {
    int64_t pages = 0;
    for (const Owned& owned : owned_) {
      pages += std::ssize(owned.tags);
    }
    return pages;
  }

  void Admit() {
    const int64_t pages = Draw(1, kPagesPerSpan);
    auto span = cache_->CreateSpan(pages * kTestTokensPerPage);
    ASSERT_EQ(span.ok(), std::ssize(owned_) < kSpans);
    if (span.ok()) {
      owned_.push_back({std::move(span).value(), {}});
      Grow(owned_.back(), pages);
    }
  }
  void Append() {
    if (Owned* const owned = Any()) {
      Grow(*owned, std::min<int64_t>(std::ssize(owned->tags) + Draw(0, 2), kPagesPerSpan));
    }
  }
  void Free() {
    if (Owned* const owned = Any()) {
      std::swap(*owned, owned_.back());
      owned_.pop_back();
    }
  }
  void Move() {
    if (Owned* const owned = Any()) {
      Span elsewhere = std::move(owned->span);
      owned->span = std::move(elsewhere);
    }
  }
  void Trim() {
    if (!cache_->Trim().ok()) {
      ++failures_;
    } else {
      EXPECT_EQ(cache_->Stats().created_pages, LivePages());
    }
  }

  // Reserves and writes a tag of its own to each new page.
  void Grow(Owned& owned, int64_t pages) {
    const auto had = std::ssize(owned.tags);
    const bool within_budget = LivePages() + pages - had <= kPages;
    const int64_t positions = pages * kTestTokensPerPage - Draw(0, kTestTokensPerPage - 1);
    const auto reserved = cache_->Reserve(owned.span, positions);
    if (!within_budget) {
      EXPECT_FALSE(reserved.ok());
      ++refusals_;
    }
    if (!reserved.ok()) {
      failures_ += within_budget ? 1 : 0;
      EXPECT_TRUE(!within_budget || mock_ != nullptr) << reserved.error().message;
      return;
    }
    for (auto page = had; page < pages; ++page) {
      owned.tags.push_back(next_tag_++);
      WriteTag(owned.span, page, owned.tags.back());
    }
  }

  void Check() {
    cache_->CheckInvariants();
    const KvCacheStats stats = cache_->Stats();
    EXPECT_EQ(stats.live_pages, LivePages());
    EXPECT_EQ(cache_->backend().PhysicalBytes(), stats.created_pages * stats.page_bytes);
    EXPECT_LE(stats.live_pages + stats.parked_pages, stats.created_pages);
    for (const Owned& owned : owned_) {
      ASSERT_EQ(owned.span.capacity_positions(), std::ssize(owned.tags) * kTestTokensPerPage);
      for (int64_t page = 0; page < std::ssize(owned.tags); ++page) {
        ASSERT_EQ(ReadTag(owned.span, page), owned.tags[static_cast<size_t>(page)]);
      }
    }
    if (mock_ != nullptr) {
      EXPECT_EQ(std::ssize(mock_->mappings()), stats.live_pages + stats.parked_pages);
    }
  }

  const uint64_t seed_;
  uint64_t draws_ = 0;
  uint64_t next_tag_ = 1;
  std::unique_ptr<KvCache> cache_;
  MockBackend* mock_ = nullptr;
  std::vector<Owned> owned_;
  int64_t refusals_ = 0;
  int64_t failures_ = 0;
};

class KvCacheProperty : public testing::TestWithParam<std::string> {};

TEST_P(KvCacheProperty, AgreesWithANaiveMap) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    KvCacheWalk walk(GetParam(), seed);
    walk.Run(kQuickBuild ? 4000 : 400, 0);
    EXPECT_GT(walk.refusals(), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, KvCacheProperty, testing::ValuesIn(TestBackends()),
                         [](const auto& info) { return info.param; });

TEST(KvCacheFailures, AFailedCallChangesNothing) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    for (int nth = 1; nth <= 5; ++nth) {
      SCOPED_TRACE("seed " + std::to_string(seed) + ", call " + std::to_string(nth));
      KvCacheWalk walk("mock", seed);
      walk.Run(kQuickBuild ? 2000 : 200, nth);
      EXPECT_GT(walk.failures(), 0);
    }
  }
}

}  // namespace
}  // namespace causeway::memory
