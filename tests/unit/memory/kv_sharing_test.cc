// Spans that share the pages of a common prefix.
#include <gtest/gtest.h>

#include "tests/support/kv_fixtures.h"
#include "tests/support/kv_sharer.h"

namespace causeway::memory {
namespace {

constexpr int64_t kT = kTestTokensPerPage;

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

TEST_F(KvSharingTest, SaysWhetherAPrefixWasLostOrNeverThere) {
  Sharer a = Started(Tokens(2 * kT, 0));
  EXPECT_EQ(cache.LossAt(a.Query(), 0), KvCache::Loss::kNever);
  a.Publish();
  a.span.Release();
  ASSERT_TRUE(cache.DropPrefixes().ok());
  EXPECT_EQ(cache.LossAt(a.Query(), 0), KvCache::Loss::kEvicted);
  EXPECT_EQ(cache.LossAt(a.Query(), 1), KvCache::Loss::kEvicted);
  EXPECT_EQ(cache.LossAt(a.Query(), 2), KvCache::Loss::kNever);  // all was found
  EXPECT_EQ(cache.LossAt(Sharer(cache, Tokens(kT, 900)).Query(), 0), KvCache::Loss::kNever);
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

}  // namespace
}  // namespace causeway::memory
