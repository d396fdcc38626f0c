// Spans that begin with a shared prefix as a segment: it is mapped once, in a trunk.
#include <gtest/gtest.h>

#include "tests/support/kv_fixtures.h"
#include "tests/support/kv_sharer.h"

namespace causeway::memory {
namespace {

constexpr int64_t kT = kTestTokensPerPage;

struct KvTrunksTest : testing::Test {
  KvTrunksTest() {
    KvCacheOptions options = TestCacheOptions(24, 4, 8);
    options.prefix_spelling = PrefixSpelling::kSegments;
    mocked = MakeMockedCache(options);
  }
  ~KvTrunksTest() override { mocked.cache->CheckInvariants(); }

  KvCache& cache() { return *mocked.cache; }
  uint64_t maps() const { return mocked.mock->calls(VmCall::kMap); }
  Sharer Started(std::vector<Token> tokens) {
    Sharer one(cache(), std::move(tokens));
    EXPECT_TRUE(one.Start().ok());
    cache().CheckInvariants();
    return one;
  }
  // Full pages that are the same for all, and a token of its own.
  static std::vector<Token> Text(int64_t pages, Token own) {
    std::vector<Token> tokens = Tokens(pages * kT, 0);
    tokens.push_back(own);
    return tokens;
  }

  MockedCache mocked;
};

TEST_F(KvTrunksTest, APrefixIsMappedOnceForAll) {
  Sharer a = Started(Text(3, 1000));
  a.Publish();
  const Sharer b = Started(Text(3, 2000));
  const SpanSegments of_b = b.span.segments();
  ASSERT_EQ(of_b.list().size(), 2U);
  EXPECT_EQ(of_b.list()[0].positions, 3 * kT);
  EXPECT_EQ(of_b.list()[1].first_position, 3 * kT);
  EXPECT_EQ(of_b.list()[1].positions, kT);
  EXPECT_EQ(b.span.sealed_pages(), 3);
  EXPECT_EQ(b.span.sealed_page(2), a.span.sealed_page(2));
  const uint64_t before = maps();
  const Sharer c = Started(Text(3, 3000));
  EXPECT_EQ(maps(), before + 1);  // the page of its own
  EXPECT_EQ(c.span.base(), b.span.base());
  EXPECT_NE(c.span.page(3), b.span.page(3));
  EXPECT_TRUE(mocked.mock->mappings().at(c.span.page(3)).writable);
  EXPECT_FALSE(mocked.mock->mappings().at(c.span.page(2)).writable);
  EXPECT_EQ(cache().Stats().live_pages, 6);  // shared ones count once
}

TEST_F(KvTrunksTest, ATrunkGrowsInPlaceAndShrinksWithItsUsers) {
  Sharer a = Started(Text(5, 1000));
  a.Publish();
  const Sharer two = Started(Text(2, 2000));
  Sharer five = Started(Text(5, 3000));
  EXPECT_EQ(five.span.base(), two.span.base());
  a.span.Release();
  EXPECT_EQ(cache().Stats().live_pages, 5 + 2);
  five.span.Release();
  cache().CheckInvariants();
  EXPECT_EQ(cache().Stats().live_pages, 2 + 1);
  EXPECT_EQ(cache().Stats().cached_pages, 3);  // mapped in the trunk still
  const uint64_t before = maps();
  five = Started(Text(5, 4000));
  EXPECT_LE(maps(), before + 1);
  EXPECT_EQ(five.span.sealed_pages(), 5);
  five.span.Release();
  EXPECT_TRUE(cache().DropPrefixes().ok());  // takes the trunk's end that nobody uses
  cache().CheckInvariants();
  EXPECT_EQ(cache().Stats().cached_pages, 0);
  EXPECT_EQ(two.span.sealed_pages(), 2);
  EXPECT_TRUE(mocked.mock->mappings().contains(two.span.page(1)));
  EXPECT_FALSE(mocked.mock->mappings().contains(two.span.base() + 2 * cache().geometry().page_bytes));
}

TEST_F(KvTrunksTest, ChainsThatDivergeHaveTrunksOfTheirOwn) {
  std::vector<Token> other = Text(3, 0);
  other[2 * kT] = 999;
  Sharer a = Started(Text(3, 1000));
  Sharer b = Started(other);
  a.Publish();
  b.Publish();
  other.back() = 7;
  const Sharer c = Started(Text(3, 2000));
  const Sharer d = Started(other);
  EXPECT_NE(c.span.base(), d.span.base());
  EXPECT_EQ(c.span.sealed_page(1), d.span.sealed_page(1));
  EXPECT_NE(c.span.sealed_page(2), d.span.sealed_page(2));
}

// A turn of a conversation finds the turn before as it was left, behind the trunk of what all begin with.
TEST_F(KvTrunksTest, WhatGoesOnFindsItsOwnRangeAgain) {
  Sharer first = Started(Text(2, 1000));
  first.Publish();
  std::vector<Token> turn = Text(2, 2000);
  turn.resize(4 * kT, 5);
  Sharer one = Started(turn);
  ASSERT_EQ(one.span.segments().list().size(), 2U);
  one.Publish();
  EXPECT_EQ(one.span.sealed_pages(), 4);
  const std::byte* const own = one.span.page(2);
  one.span.Release();
  turn.push_back(8);
  const uint64_t before = maps();
  const Sharer next = Started(turn);
  EXPECT_EQ(next.span.page(2), own);
  EXPECT_EQ(next.span.sealed_pages(), 4);
  EXPECT_EQ(maps(), before + 1);  // the new page
}

// Without a trunk the prefix is an alias.
TEST_F(KvTrunksTest, AFailedCallFallsBackToAliasing) {
  Sharer a = Started(Text(3, 1000));
  a.Publish();
  mocked.mock->FailNth(VmCall::kMap, 1);
  const Sharer b = Started(Text(3, 2000));
  EXPECT_EQ(b.span.segments().list().size(), 1U);
  EXPECT_EQ(b.span.sealed_pages(), 3);
}

TEST_F(KvTrunksTest, EverySpanMayHaveATrunkOfItsOwn) {
  std::vector<Sharer> spans;
  for (Token i = 0; i < 4; ++i) {
    std::vector<Token> text = Text(1, 0);
    text[0] = 500 + i;
    Sharer made = Started(text);
    made.Publish();
    made.span.Release();
  }
  EXPECT_TRUE(cache().Trim().ok());
  for (Token i = 0; i < 4; ++i) {
    std::vector<Token> text = Text(1, 0);
    text[0] = 500 + i;
    spans.push_back(Started(text));
    EXPECT_EQ(spans.back().span.sealed_pages(), 1);
  }
  EXPECT_FALSE(cache().CreateSpan(1).ok());
  spans.clear();
  EXPECT_TRUE(cache().Sleep().ok());
  EXPECT_TRUE(cache().Wake().ok());
}

}  // namespace
}  // namespace causeway::memory
