// What is done before it is needed: pages mapped ahead, pages made ahead; and the thread that does it.
#include <algorithm>
#include <atomic>

#include <gtest/gtest.h>

#include "tests/support/kv_fixtures.h"
#include "tests/support/kv_sharer.h"

namespace causeway::memory {
namespace {

constexpr int64_t kT = kTestTokensPerPage;

KvCacheOptions ReadyOptions(int64_t ready_pages) {
  KvCacheOptions options = TestCacheOptions(8, 3, 6);
  options.ready_pages = ready_pages;
  return options;
}

// A job runs when the cache asks what is done: between MapAhead and Poll pages are on their way.
struct KvAheadTest : testing::Test {
  MockedCache mocked = MakeMockedCache(ReadyOptions(2));
  KvCache& cache = *mocked.cache;
  MockBackend& mock = *mocked.mock;

  Span NewSpan(int64_t pages) {
    Span span = cache.CreateSpan(pages * kT).value();
    EXPECT_TRUE(cache.Reserve(span, pages * kT).ok());
    return span;
  }
  void PollUntilIdle() {
    for (int i = 0; i < 50; ++i) {
      cache.Poll();
    }
  }
  // A span with `pages`, and more on their way behind them.
  Span WithArriving(int64_t pages) {
    Span span = NewSpan(pages);
    PollUntilIdle();
    cache.MapAhead(span, 6 * kT);
    EXPECT_EQ(span.mapped_pages(), pages);
    return span;
  }
  void TearDown() override { cache.CheckInvariants(); }
};

TEST_F(KvAheadTest, SteadyDecodeMapsNothingItself) {
  Span span = NewSpan(1);
  PollUntilIdle();
  for (int64_t positions = kT; positions <= 6 * kT; ++positions) {
    ASSERT_TRUE(cache.Reserve(span, positions).ok());
    cache.MapAhead(span, positions + kT);
    cache.Poll();
    cache.Poll();
  }
  EXPECT_EQ(cache.Stats().map_calls, 1U);  // the first, at admission
  EXPECT_EQ(cache.Stats().unmap_calls, 0U);
  EXPECT_GT(cache.Stats().ahead_calls, 0U);
  EXPECT_EQ(mock.calls(VmCall::kMap), 1 + cache.Stats().ahead_calls);
  EXPECT_EQ(cache.Stats().live_pages, 6);
}

TEST_F(KvAheadTest, PagesOnTheirWayStayUpForTaking) {
  const Span span = WithArriving(1);
  EXPECT_EQ(cache.Stats().parked_pages, 2);
  EXPECT_TRUE(cache.CanReserve(7));
  const Span other = NewSpan(6);  // waits for them and takes one
  EXPECT_EQ(cache.Stats().live_pages, 7);
  EXPECT_LE(cache.Stats().parked_pages, 1);
}

TEST_F(KvAheadTest, WhoeverNeedsThemEarlierWaits) {
  Span span = WithArriving(1);
  ASSERT_TRUE(cache.Reserve(span, 3 * kT).ok());
  EXPECT_EQ(cache.Stats().map_calls, 1U);
  EXPECT_EQ(span.capacity_positions(), 3 * kT);
}

TEST_F(KvAheadTest, TheyArriveBesideARelease) {
  Span span = WithArriving(1);
  span.Release();
  cache.CheckInvariants();
  cache.Poll();
  EXPECT_EQ(cache.Stats().parked_pages, 3);
}

TEST_F(KvAheadTest, TheyArriveBesideAnAdoption) {
  Span span = WithArriving(1);
  const std::byte* const base = span.base();
  span.Release();
  Span next = NewSpan(3);
  EXPECT_EQ(next.base(), base);
  EXPECT_EQ(cache.Stats().map_calls, 1U);
}

TEST_F(KvAheadTest, TheyArriveBesideATrim) {
  Span span = WithArriving(1);
  ASSERT_TRUE(cache.Trim().ok());
  EXPECT_EQ(span.mapped_pages(), 1);
  EXPECT_EQ(cache.Stats().created_pages, 1);
  EXPECT_EQ(mock.mappings().size(), 1U);
}

TEST_F(KvAheadTest, OneRequestIsOnItsWayAtATime) {
  Span span = WithArriving(1);
  cache.MapAhead(span, 6 * kT);
  PollUntilIdle();
  EXPECT_EQ(cache.Stats().ahead_calls, 1U);
}

TEST_F(KvAheadTest, AFailedMapLeavesFreePages) {
  Span span = WithArriving(1);
  mock.FailNth(VmCall::kMap, 1);
  cache.Poll();
  EXPECT_EQ(span.mapped_pages(), 1);
  EXPECT_EQ(cache.Stats().parked_pages, 0);
  EXPECT_EQ(cache.Stats().ahead_calls, 0U);
  EXPECT_TRUE(cache.Reserve(span, 6 * kT).ok());
}

TEST_F(KvAheadTest, NothingIsAskedForWithoutNeedOrPages) {
  Span span = NewSpan(2);
  cache.MapAhead(span, 2 * kT);
  EXPECT_EQ(cache.Stats().parked_pages, 0);
  cache.MapAhead(span, 3 * kT);  // no free page exists yet
  EXPECT_EQ(cache.Stats().parked_pages, 0);
  EXPECT_EQ(mock.calls(VmCall::kCreate), 2U);
}

TEST_F(KvAheadTest, TheLimitOfMappingsHolds) {
  Span span = NewSpan(1);
  PollUntilIdle();
  mock.set_max_mappings(2 * 3 + 2);  // one is in use; two more may be needed
  cache.MapAhead(span, 3 * kT);
  EXPECT_EQ(cache.Stats().parked_pages, 0);
  mock.set_max_mappings(2 * 3 + 3);
  cache.MapAhead(span, 3 * kT);
  EXPECT_EQ(cache.Stats().parked_pages, 2);
}

// ---- Ready pages -----------------------------------------------------------------------------------

TEST_F(KvAheadTest, PagesAreMadeOncePagesAreWanted) {
  PollUntilIdle();
  EXPECT_EQ(mock.calls(VmCall::kCreate), 0U);
  Span span = NewSpan(1);
  cache.Poll();  // asks for both
  EXPECT_EQ(cache.Stats().making_pages, 2);
  PollUntilIdle();
  EXPECT_EQ(cache.Stats().created_pages, 3);
  EXPECT_EQ(cache.Stats().making_pages, 0);
  ASSERT_TRUE(cache.Reserve(span, 3 * kT).ok());
  EXPECT_EQ(mock.calls(VmCall::kCreate), 3U);  // none was left to make
}

TEST_F(KvAheadTest, APageInTheMakingIsWaitedForWhenItIsTheLast) {
  Span a = NewSpan(6);
  Span b = NewSpan(1);
  cache.Poll();
  ASSERT_EQ(cache.Stats().making_pages, 1);
  EXPECT_TRUE(cache.Reserve(b, 2 * kT).ok());
  EXPECT_EQ(cache.Stats().live_pages, 8);
  EXPECT_EQ(cache.Stats().making_pages, 0);
}

// Pages that came into being in a hurry are made better when nobody uses them; for that time they are not there.
TEST_F(KvAheadTest, FreePagesAreImproved) {
  { const Span span = NewSpan(3); }
  PollUntilIdle();  // two more are made
  Span small = NewSpan(1);
  Span large = NewSpan(4);
  small.Release();
  large.Release();
  ASSERT_TRUE(cache.DropPrefixes().ok());
  Span all = NewSpan(6);  // takes parked pages away from ranges, and leaves none in the making behind
  PollUntilIdle();
  EXPECT_EQ(cache.Stats().making_pages, 0);
  EXPECT_EQ(mock.PhysicalBytes(), cache.Stats().created_pages * cache.Stats().page_bytes);
}

TEST_F(KvAheadTest, WhenMemoryIsShortNothingMoreIsTriedUntilPagesAreWanted) {
  Span span = NewSpan(1);
  mock.FailNth(VmCall::kCreate, 1);
  PollUntilIdle();
  EXPECT_EQ(cache.Stats().created_pages, 1);
  EXPECT_EQ(mock.calls(VmCall::kCreate), 2U);
  ASSERT_TRUE(cache.Reserve(span, 2 * kT).ok());
  PollUntilIdle();
  EXPECT_EQ(cache.Stats().created_pages, 4);
}

TEST_F(KvAheadTest, TheBudgetHoldsForReadyPages) {
  ASSERT_TRUE(cache.Resize(3).ok());
  Span span = NewSpan(2);
  PollUntilIdle();
  EXPECT_EQ(cache.Stats().created_pages, 3);
}

TEST_F(KvAheadTest, ATrimEndsTheMaking) {
  { const Span span = NewSpan(1); }
  PollUntilIdle();
  ASSERT_TRUE(cache.Trim().ok());
  PollUntilIdle();
  EXPECT_EQ(cache.Stats().created_pages, 0);
}

// ---- The thread ------------------------------------------------------------------------------------

struct MemoryControlTest : testing::TestWithParam<MemoryControl::Mode> {
  MemoryControl control{GetParam()};
  std::vector<int> order;

  void Ask(int number) {
    auto worked = std::make_shared<std::atomic<bool>>(false);
    control.Post([worked] { *worked = true; },
                 [this, worked, number] {
                   EXPECT_TRUE(*worked);
                   order.push_back(number);
                 });
  }
};

TEST_P(MemoryControlTest, JobsAreDoneInTheOrderAsked) {
  EXPECT_TRUE(control.idle());
  EXPECT_FALSE(control.Poll());
  for (int i = 0; i < 100; ++i) {
    Ask(i);
  }
  EXPECT_FALSE(control.idle());
  control.Drain();
  EXPECT_TRUE(control.idle());
  ASSERT_EQ(order.size(), 100U);
  EXPECT_TRUE(std::ranges::is_sorted(order));
}

TEST_P(MemoryControlTest, WaitingDoesAtLeastOne) {
  Ask(1);
  Ask(2);
  control.Wait();
  EXPECT_GE(order.size(), 1U);
  while (!control.idle()) {
    control.Wait();
  }
  EXPECT_EQ(order.size(), 2U);
}

TEST_P(MemoryControlTest, AJobMayAskForMore) {
  control.Post([] {}, [this] { Ask(7); });
  control.Drain();
  EXPECT_EQ(order, std::vector<int>{7});
}

TEST_P(MemoryControlTest, WhatIsLeftIsDoneAtTheEnd) {
  int done = 0;
  {
    MemoryControl ending(GetParam());
    for (int i = 0; i < 10; ++i) {
      ending.Post([] {}, [&] { ++done; });
    }
  }
  EXPECT_EQ(done, 10);
}

INSTANTIATE_TEST_SUITE_P(Modes, MemoryControlTest,
                         testing::Values(MemoryControl::Mode::kThread, MemoryControl::Mode::kDeferred),
                         [](const auto& info) {
                           return info.param == MemoryControl::Mode::kThread ? "Thread" : "Deferred";
                         });

TEST(MemoryControl, AThreadSaysWhenItIsDone) {
  std::atomic<int> called{0};
  MemoryControl control(MemoryControl::Mode::kThread);
  control.SetOnDone([&] {
    ++called;
    called.notify_all();
  });
  control.Post([] {}, [] {});
  called.wait(0);
  EXPECT_TRUE(control.Poll());
  control.SetOnDone({});
  control.Post([] {}, [] {});
  control.Drain();
  EXPECT_EQ(called, 1);
}

}  // namespace
}  // namespace causeway::memory
