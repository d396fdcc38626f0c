// The cache gives memory back and takes it again: trim, sleep, wake, resize.
#include <gtest/gtest.h>

#include "tests/support/kv_fixtures.h"
#include "tests/support/kv_sharer.h"

namespace causeway::memory {
namespace {

constexpr int64_t kT = kTestTokensPerPage;

struct KvSizeTest : testing::Test {
  MockedCache mocked = MakeMockedCache(TestCacheOptions(8, 4, 8));
  KvCache& cache = *mocked.cache;
  MockBackend& mock = *mocked.mock;

  Sharer Started(int64_t pages, Token first) {
    Sharer one(cache, Tokens(pages * kT, first));
    EXPECT_TRUE(one.Start().ok());
    return one;
  }
  void Cached(int64_t pages, Token first) {
    Sharer one = Started(pages, first);
    one.Publish();
  }
  void TearDown() override {
    cache.CheckInvariants();
    EXPECT_EQ(mock.PhysicalBytes(), cache.Stats().created_pages * cache.Stats().page_bytes);
  }
};

// ---- Sleep -----------------------------------------------------------------------------------------

TEST_F(KvSizeTest, SleepGivesAllBackAndWakeTakesAsMuch) {
  Cached(3, 0);
  { const Sharer parked = Started(2, 500); }
  ASSERT_TRUE(cache.Sleep().ok());
  EXPECT_TRUE(cache.asleep());
  EXPECT_EQ(mock.PhysicalBytes(), 0);
  EXPECT_EQ(cache.Stats().mappings, 0);
  ASSERT_TRUE(cache.Wake().ok());
  EXPECT_FALSE(cache.asleep());
  EXPECT_EQ(cache.Stats().created_pages, 5);
  EXPECT_EQ(cache.Stats().free_pages(), 8);
  const Sharer again = Started(8, 0);
  EXPECT_EQ(again.span.sealed_pages(), 0);
}

TEST_F(KvSizeTest, ItDoesNotSleepUnderASpan) {
  Span empty = cache.CreateSpan(kT).value();  // without a page
  const auto refused = cache.Sleep();
  EXPECT_EQ(refused.error().code, ErrorCode::kFailedPrecondition);
  EXPECT_NE(refused.error().message.find("1 sequences"), std::string::npos);
  ASSERT_TRUE(cache.Reserve(empty, kT).ok());
  EXPECT_FALSE(cache.Sleep().ok());
  empty.Release();
  EXPECT_TRUE(cache.Sleep().ok());
}

// Whichever create fails, it stays asleep and holds nothing; then it wakes.
TEST_F(KvSizeTest, WakeTakesAllOrNothing) {
  Cached(5, 0);
  ASSERT_TRUE(cache.Sleep().ok());
  for (int nth = 1; nth <= 5; ++nth) {
    mock.FailNth(VmCall::kCreate, nth);
    EXPECT_FALSE(cache.Wake().ok());
    EXPECT_TRUE(cache.asleep());
    EXPECT_EQ(mock.PhysicalBytes(), 0);
    cache.CheckInvariants();
  }
  mock.FailNth(VmCall::kCreate, 3);
  mock.FailNth(VmCall::kRelease, 1);  // nor can the others be given back
  EXPECT_FALSE(cache.Wake().ok());
  EXPECT_TRUE(cache.asleep());
  cache.CheckInvariants();
  ASSERT_TRUE(cache.Wake().ok());
  EXPECT_EQ(cache.Stats().created_pages, 5);
}

TEST_F(KvSizeTest, ASleepThatFailsIsNoSleep) {
  Cached(3, 0);
  for (const VmCall call : {VmCall::kUnmap, VmCall::kRelease}) {
    mock.FailNth(call, 1);
    EXPECT_FALSE(cache.Sleep().ok());
    EXPECT_FALSE(cache.asleep());
    cache.CheckInvariants();
  }
  EXPECT_TRUE(cache.Sleep().ok());
}

TEST_F(KvSizeTest, ItMayBeResizedAsleep) {
  Cached(6, 0);
  ASSERT_TRUE(cache.Sleep().ok());
  ASSERT_TRUE(cache.Resize(4).ok());
  EXPECT_TRUE(cache.Trim().ok());
  EXPECT_FALSE(cache.Poll());
  ASSERT_TRUE(cache.Wake().ok());
  EXPECT_EQ(cache.Stats().created_pages, 4);
  EXPECT_EQ(cache.Stats().budget_pages, 4);
}

// ---- Resize ----------------------------------------------------------------------------------------

TEST_F(KvSizeTest, ShrinkingTakesParkedThenCachedPagesAndLeavesLiveOnes) {
  Cached(2, 0);
  { const Sharer parked = Started(2, 500); }
  Sharer live = Started(3, 900);  // of the parked range
  ASSERT_TRUE(cache.Resize(5).ok());
  EXPECT_EQ(cache.Stats().cached_pages, 2);
  EXPECT_EQ(cache.Stats().budget_pages, 5);
  ASSERT_TRUE(cache.Resize(4).ok());
  EXPECT_EQ(cache.Stats().cached_pages, 1);
  EXPECT_EQ(cache.Resize(2).error().code, ErrorCode::kResourceExhausted);
  ASSERT_TRUE(cache.Resize(3).ok());
  EXPECT_EQ(mock.PhysicalBytes(), 3 * cache.Stats().page_bytes);
  EXPECT_FALSE(cache.CanReserve(1));
  EXPECT_FALSE(cache.Reserve(live.span, 4 * kT).ok());
  EXPECT_EQ(live.span.capacity_positions(), 3 * kT);
}

TEST_F(KvSizeTest, GrowingBackAllowsAsMuchAsBefore) {
  ASSERT_TRUE(cache.Resize(1).ok());
  Sharer one = Started(1, 0);
  EXPECT_FALSE(cache.Reserve(one.span, 2 * kT).ok());
  ASSERT_TRUE(cache.Resize(8).ok());
  EXPECT_TRUE(cache.Reserve(one.span, 8 * kT).ok());
  EXPECT_EQ(cache.Resize(9).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(cache.Resize(0).error().code, ErrorCode::kInvalidArgument);
}

TEST_F(KvSizeTest, AResizeThatFailsChangesNoLimit) {
  { const Sharer parked = Started(6, 0); }
  for (const VmCall call : {VmCall::kUnmap, VmCall::kRelease}) {
    mock.FailNth(call, 1);
    EXPECT_FALSE(cache.Resize(3).ok());
    EXPECT_EQ(cache.Stats().budget_pages, 8);
    cache.CheckInvariants();
  }
  ASSERT_TRUE(cache.Resize(3).ok());
  EXPECT_EQ(cache.Stats().budget_pages, 3);
}

// ---- Trim ------------------------------------------------------------------------------------------

TEST_F(KvSizeTest, TrimKeepsCachedPages) {
  Cached(2, 0);
  { const Sharer parked = Started(3, 500); }
  ASSERT_TRUE(cache.Trim().ok());
  EXPECT_EQ(cache.Stats().created_pages, 2);
  EXPECT_EQ(cache.Stats().cached_pages, 2);
  EXPECT_EQ(Started(2, 0).span.sealed_pages(), 2);
}

TEST_F(KvSizeTest, ATrimThatFailsGoesOnLater) {
  { const Sharer parked = Started(4, 0); }
  mock.FailNth(VmCall::kRelease, 3);
  EXPECT_FALSE(cache.Trim().ok());
  EXPECT_EQ(cache.Stats().created_pages, 2);
  cache.CheckInvariants();
  EXPECT_TRUE(cache.Trim().ok());
  EXPECT_EQ(cache.Stats().created_pages, 0);
}

}  // namespace
}  // namespace causeway::memory
