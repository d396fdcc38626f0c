// Spans that share the pages of a common prefix.
#include <map>
#include <numeric>

#include <gtest/gtest.h>

#include "base/rng.h"
#include "fmt/format.h"
#include "tests/support/kv_fixtures.h"

namespace causeway::memory {
namespace {

constexpr int64_t kT = kTestTokensPerPage;

std::vector<Token> Tokens(int64_t count, Token first) {
  std::vector<Token> tokens(static_cast<size_t>(count));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

// A sequence as the scheduler drives one.
struct Sharer {
  KvCache* cache;
  std::vector<Token> tokens;
  std::vector<Digest> keys;
  Span span;

  Sharer(KvCache& kv, std::vector<Token> text) : cache(&kv), tokens(std::move(text)) {}

  // Takes what is known of the tokens and reserves the rest.
  Result<void> Start() {
    cache->AppendPrefixKeys(cache->PrefixRoot("test"), tokens, keys);
    const auto size = static_cast<int64_t>(tokens.size());
    ASSIGN_OR_RETURN(span, cache->CreateSpan(size, {keys, tokens, size}));
    return cache->Reserve(span, size);
  }
  void Publish() { cache->Publish(span, keys, tokens); }
};

struct KvSharingTest : testing::Test {
  MockedCache mocked = MakeMockedCache(TestCacheOptions(8, 4, 6));
  KvCache& cache = *mocked.cache;
  MockBackend& mock = *mocked.mock;

  Sharer Started(std::vector<Token> tokens) {
    Sharer one(cache, std::move(tokens));
    EXPECT_TRUE(one.Start().ok());
    return one;
  }
  PageId PageAt(const Sharer& one, int64_t page) const {
    return mock.mappings().at(one.span.base() + page * cache.geometry().page_bytes).page;
  }
  void TearDown() override { cache.CheckInvariants(); }
};

TEST_F(KvSharingTest, ALaterSpanMapsThePagesOfTheFirst) {
  Sharer a = Started(Tokens(3 * kT + 5, 0));
  EXPECT_EQ(a.span.sealed_pages(), 0);
  a.Publish();
  EXPECT_EQ(a.span.sealed_pages(), 3);  // the fourth page is not full
  std::vector<Token> other = Tokens(3 * kT, 0);
  other.back() = 999;
  const Sharer b = Started(other);
  EXPECT_EQ(b.span.sealed_pages(), 2);
  EXPECT_EQ(PageAt(a, 0), PageAt(b, 0));
  EXPECT_EQ(PageAt(a, 1), PageAt(b, 1));
  EXPECT_NE(PageAt(a, 2), PageAt(b, 2));
  EXPECT_EQ(cache.Stats().live_pages, 5);  // a shared page counts once
}

TEST_F(KvSharingTest, PagesOutliveTheSpanThatMadeThem) {
  Sharer a = Started(Tokens(3 * kT, 0));
  a.Publish();
  a.span.Release();
  EXPECT_EQ(cache.Stats().cached_pages, 3);
  EXPECT_EQ(cache.Stats().live_pages, 0);
  const uint64_t maps = mock.calls(VmCall::kMap);
  const Sharer b = Started(Tokens(3 * kT, 0));
  EXPECT_EQ(b.span.sealed_pages(), 3);
  EXPECT_EQ(mock.calls(VmCall::kMap), maps);  // the parked range has them in place
  EXPECT_EQ(cache.Stats().cached_pages, 0);
}

TEST_F(KvSharingTest, TwinsEndUpWithOneCopy) {
  Sharer a = Started(Tokens(2 * kT + 1, 0));
  Sharer b = Started(Tokens(2 * kT + 1, 0));
  EXPECT_EQ(cache.Stats().live_pages, 6);
  a.Publish();
  b.Publish();
  EXPECT_EQ(cache.Stats().live_pages, 4);
  EXPECT_EQ(PageAt(a, 1), PageAt(b, 1));
  EXPECT_EQ(b.span.sealed_pages(), 2);
}

TEST_F(KvSharingTest, CachedPagesGoWhenPagesRunShortTailFirst) {
  Sharer a = Started(Tokens(5 * kT, 0));
  a.Publish();
  a.span.Release();
  const Sharer other = Started(Tokens(5 * kT, 500));  // 8 pages in all: two of the five have to go
  EXPECT_EQ(cache.Stats().cached_pages, 3);
  const Sharer again = Started(Tokens(3 * kT, 0));
  EXPECT_EQ(again.span.sealed_pages(), 3);
}

TEST_F(KvSharingTest, WhatASpanInUseSharesIsNotEvicted) {
  Sharer a = Started(Tokens(5 * kT, 0));
  a.Publish();
  Sharer b(cache, Tokens(4 * kT, 500));
  EXPECT_EQ(b.Start().error().code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(cache.Stats().live_pages, 5);
  b.span.Release();
}

TEST_F(KvSharingTest, AParkedRangeWithAnotherPrefixIsNotWrittenTo) {
  Sharer a = Started(Tokens(3 * kT, 0));
  a.Publish();
  a.span.Release();
  const Sharer b = Started(Tokens(3 * kT, 500));  // dies in the mock if it got a sealed page to write
  EXPECT_EQ(cache.Stats().cached_pages, 3);
  EXPECT_EQ(cache.Stats().live_pages, 3);
  const Sharer c = Started(Tokens(3 * kT, 0));
  EXPECT_EQ(c.span.sealed_pages(), 3);
}

TEST_F(KvSharingTest, DropPrefixesKeepsWhatIsInUse) {
  Sharer a = Started(Tokens(2 * kT, 0));
  a.Publish();
  Sharer b = Started(Tokens(3 * kT, 500));
  b.Publish();
  b.span.Release();
  ASSERT_TRUE(cache.DropPrefixes().ok());
  EXPECT_EQ(cache.Stats().cached_pages, 0);
  EXPECT_EQ(Started(Tokens(2 * kT, 0)).span.sealed_pages(), 2);
  EXPECT_EQ(Started(Tokens(3 * kT, 500)).span.sealed_pages(), 0);
}

TEST_F(KvSharingTest, AFailureOfTheBackendLeavesEverythingAsItWas) {
  Sharer a = Started(Tokens(3 * kT, 0));
  mock.FailNth(VmCall::kProtect, 2);
  a.Publish();
  EXPECT_EQ(a.span.sealed_pages(), 1);  // the rest stays private
  Sharer b(cache, Tokens(3 * kT, 0));
  mock.FailNth(VmCall::kMap, 1);
  EXPECT_FALSE(b.Start().ok());
  cache.CheckInvariants();
  b.keys.clear();
  ASSERT_TRUE(b.Start().ok());
  EXPECT_EQ(b.span.sealed_pages(), 1);
  b.Publish();
  Sharer c = Started(Tokens(3 * kT, 0));
  EXPECT_EQ(c.span.sealed_pages(), 3);
  Sharer d(cache, Tokens(kT, 700));
  Sharer e(cache, Tokens(kT, 700));
  a.span.Release();
  ASSERT_TRUE(d.Start().ok());
  b.span.Release();
  ASSERT_TRUE(e.Start().ok());
  d.Publish();
  mock.FailNth(VmCall::kReplace, 1);
  e.Publish();
  EXPECT_EQ(e.span.sealed_pages(), 0);
}

// ---- Random histories ------------------------------------------------------------------------------
//
// Every page written carries a tag, a function of all tokens up to its end. Whatever happened before, the full
// pages of a span carry the tags of its own tokens.

uint64_t TagOf(std::span<const Token> tokens) {
  uint64_t tag = 1;
  for (const Token token : tokens) {
    tag = Mix64(tag + static_cast<uint64_t>(token));
  }
  return tag;
}

struct History {
  static constexpr int64_t kPages = 24;
  static constexpr size_t kSpans = 5;

  uint64_t seed = 0;
  std::unique_ptr<KvCache> cache;
  MockBackend* mock = nullptr;  // null on others
  std::vector<Sharer> running;
  uint64_t step = 0;
  uint64_t drawn = 0;

  uint64_t Draw(uint64_t below) { return RandomBits(seed, step, drawn++) % below; }

  std::vector<Token> RandomTokens() {
    std::vector<Token> tokens(1 + Draw(8 * kT));
    const uint64_t family = Draw(3);
    const size_t branch = Draw(tokens.size());
    for (size_t i = 0; i < tokens.size(); ++i) {
      tokens[i] = static_cast<Token>(i < branch ? family : 10 + Draw(2));
    }
    return tokens;
  }

  void Fill(Sharer& one) {
    for (int64_t page = one.span.sealed_pages(); page * kT < static_cast<int64_t>(one.tokens.size()); ++page) {
      const auto end = std::min(one.tokens.size(), static_cast<size_t>((page + 1) * kT));
      WriteTag(one.span, page, TagOf(std::span(one.tokens).first(end)));
    }
  }
  void Check() {
    cache->CheckInvariants();
    for (const Sharer& one : running) {
      for (size_t page = 0; (page + 1) * kT <= one.tokens.size(); ++page) {
        ASSERT_EQ(ReadTag(one.span, static_cast<int64_t>(page)), TagOf(std::span(one.tokens).first((page + 1) * kT)))
            << "seed " << seed << " step " << step << " page " << page;
      }
    }
  }

  void Grow(Sharer& one) {
    const size_t room = 10 * kT - one.tokens.size();
    const size_t more = std::min<size_t>(room, Draw(2 * kT));
    std::vector<Token> longer = one.tokens;
    longer.insert(longer.end(), more, static_cast<Token>(20 + Draw(2)));
    if (cache->Reserve(one.span, static_cast<int64_t>(longer.size())).ok()) {
      one.tokens = std::move(longer);
      cache->AppendPrefixKeys(cache->PrefixRoot("test"), one.tokens, one.keys);
      Fill(one);
    }
  }

  void Step() {
    ++step;
    drawn = 0;
    if (mock != nullptr && Draw(4) == 0) {
      mock->FailNth(static_cast<VmCall>(Draw(kVmCalls)), 1 + static_cast<int>(Draw(3)));
    }
    const uint64_t action = Draw(10);
    if (action < 4 && running.size() < kSpans) {
      Sharer one(*cache, RandomTokens());
      if (one.Start().ok()) {
        Fill(one);
        running.push_back(std::move(one));
      }
    } else if (action < 6 && !running.empty()) {
      running[Draw(running.size())].Publish();
    } else if (action < 8 && !running.empty()) {
      Grow(running[Draw(running.size())]);
    } else if (action == 8 && !running.empty()) {
      running.erase(running.begin() + static_cast<int64_t>(Draw(running.size())));
    } else if (Draw(20) == 0) {
      (void)(Draw(2) == 0 ? cache->Trim() : cache->DropPrefixes());
    }
  }
};

struct KvSharingHistory : testing::TestWithParam<std::string> {};

TEST_P(KvSharingHistory, EverySpanSeesItsOwnTokens) {
  const int64_t steps = GetParam() == "mock" ? 3000 : 1500;
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    const KvCacheOptions options = TestCacheOptions(History::kPages, History::kSpans, 10);
    History history;
    history.seed = seed;
    if (GetParam() == "mock") {
      MockedCache mocked = MakeMockedCache(options, MockBackend::Storage::kHeap);
      history.cache = std::move(mocked.cache);
      history.mock = mocked.mock;
    } else {
      history.cache = KvCache::Create(options, MakeTestBackend(GetParam(), History::kPages)).value();
    }
    for (int64_t i = 0; i < steps; ++i) {
      history.Step();
      history.Check();
      if (testing::Test::HasFatalFailure()) {
        return;
      }
    }
    history.running.clear();
    for (int attempt = 0; attempt < 20; ++attempt) {  // a failure may still be armed
      (void)history.cache->DropPrefixes();
      (void)history.cache->Trim();
    }
    EXPECT_EQ(history.cache->backend().PhysicalBytes(), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, KvSharingHistory, testing::ValuesIn(TestBackends()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace causeway::memory
