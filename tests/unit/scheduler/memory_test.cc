// Sequences and what lies below the pool: tiers, pins, tenants, size. The fake executor dies if a sequence begins
// behind tokens that nobody computed.
#include <gtest/gtest.h>

#include "tests/support/scheduler_fixture.h"

namespace causeway::scheduler {
namespace {

struct SchedulerMemoryTest : SchedulerFixture {
  static constexpr int64_t kPages = 12;

  void SetUp() override {
    prefix_caching = true;
    with_tier = true;
    Make({.max_num_seqs = 4, .max_num_batched_tokens = 64}, kPages);
  }
  void TearDown() override { outcomes.clear(); }  // pins end before their cache

  // Tokens computed until all is done.
  int64_t Computed() {
    int64_t tokens = 0;
    for (int steps = 0; !scheduler->idle() && steps < 10000; ++steps) {
      Step();
      for (const Row& row : rows) {
        tokens += row.tokens;
      }
    }
    EXPECT_TRUE(scheduler->idle());
    return tokens;
  }
  // A prompt unlike all others.
  GenerateRequest Prompt(int64_t tokens, Token mark, int64_t max_tokens = 1) {
    GenerateRequest request = MakeTestRequest(tokens, max_tokens, static_cast<uint64_t>(mark));
    request.prompt[0] = mark;
    return request;
  }
  void ExpectAnswer(RequestKey key, const GenerateRequest& request) {
    EXPECT_EQ(outcomes[std::pair(key, 0)].tokens, ExpectedOutput(request, 0)) << key;
  }
  uint64_t Lost(PrefixLoss loss) const { return scheduler->prefix_lost_tokens()[static_cast<size_t>(loss)]; }
};

TEST_F(SchedulerMemoryTest, EvictedPagesComeBackFromTheTier) {
  const GenerateRequest a = Prompt(8 * kPage + 3, 1, 4);
  scheduler->Add(1, a, now);
  Computed();
  scheduler->Add(2, Prompt(12 * kPage, 2), now);  // takes the whole pool
  Computed();
  EXPECT_GE(tier->pages(), 8);
  scheduler->Add(3, a, now);
  EXPECT_EQ(Computed(), 3 + 3);
  EXPECT_EQ(outcomes[std::pair(3, 0)].finish.cached_tokens, 8 * kPage);
  ExpectAnswer(3, a);
  EXPECT_EQ(mocked.cache->Stats().restored_pages, 8U);
  EXPECT_EQ(mocked.cache->Stats().moving_pages, 0);
}

TEST_F(SchedulerMemoryTest, APreemptedSequenceTakesUpFromTheTier) {
  Make({.max_num_seqs = 2, .max_num_batched_tokens = 64}, 9);
  const GenerateRequest a = Prompt(2 * kPage, 1, 6 * kPage);
  const GenerateRequest b = Prompt(2 * kPage, 2, 6 * kPage);
  scheduler->Add(1, a, now);
  scheduler->Add(2, b, now);
  const int64_t computed = Computed();
  ExpectAnswer(1, a);
  ExpectAnswer(2, b);
  EXPECT_GE(scheduler->preemptions(), 1U);
  EXPECT_GE(mocked.cache->Stats().restored_pages, 1U);
  EXPECT_LT(computed, 2 * (8 * kPage - 1) + 2 * kPage * static_cast<int64_t>(scheduler->preemptions()));
}

TEST_F(SchedulerMemoryTest, OthersGoOnWhilePagesComeBack) {
  const GenerateRequest a = Prompt(4 * kPage + 1, 1, 2);
  scheduler->Add(1, a, now);
  Computed();
  scheduler->Add(2, Prompt(12 * kPage, 2), now);
  Computed();
  scheduler->Add(3, a, now);
  const GenerateRequest b = Prompt(kPage, 3, 2);
  scheduler->Add(4, b, now);
  Step();
  ASSERT_EQ(rows.size(), 1U);  // b alone: a waits for its pages
  EXPECT_EQ(rows[0].tokens, kPage);
  Computed();
  ExpectAnswer(3, a);
  ExpectAnswer(4, b);
  EXPECT_EQ(outcomes[std::pair(3, 0)].finish.cached_tokens, 4 * kPage);
}

TEST_F(SchedulerMemoryTest, WhatTheTierCannotReadIsComputed) {
  const GenerateRequest a = Prompt(8 * kPage + 3, 1, 4);
  scheduler->Add(1, a, now);
  Computed();
  scheduler->Add(2, Prompt(12 * kPage, 2), now);
  Computed();
  tier->set_good_pages(3);
  scheduler->Add(3, a, now);
  EXPECT_EQ(Computed(), 5 * kPage + 3 + 3);
  ExpectAnswer(3, a);
  EXPECT_EQ(mocked.cache->Stats().lost_pages, 5U);
}

TEST_F(SchedulerMemoryTest, ACancelledSequenceGivesItsClaimUp) {
  const GenerateRequest a = Prompt(8 * kPage + 3, 1, 4);
  scheduler->Add(1, a, now);
  Computed();
  scheduler->Add(2, Prompt(12 * kPage, 2), now);
  Computed();
  scheduler->Add(3, a, now);
  Step();
  EXPECT_GT(mocked.cache->Stats().moving_pages, 0);
  scheduler->Cancel(3, -1);
  Step();
  Step();
  EXPECT_TRUE(scheduler->idle());
  mocked.cache->Poll();
  EXPECT_EQ(mocked.cache->Stats().moving_pages, 0);
  const GenerateRequest b = Prompt(12 * kPage, 3);
  scheduler->Add(4, b, now);
  Computed();
  ExpectAnswer(4, b);
}

TEST_F(SchedulerMemoryTest, ATierThatIsSlowerThanComputingIsNotAsked) {
  const GenerateRequest a = Prompt(8 * kPage + 3, 1, 4);
  mocked.cache->SetComputeRate(1e6);
  tier->set_read_rate(1e3);
  scheduler->Add(1, a, now);
  Computed();
  scheduler->Add(2, Prompt(12 * kPage, 2), now);
  Computed();
  EXPECT_EQ(tier->pages(), 0);
  EXPECT_GE(mocked.cache->Stats().dropped_pages[static_cast<size_t>(memory::DropReason::kNotWorth)], 8U);
}

// ---- Losses ----------------------------------------------------------------------------------------

TEST_F(SchedulerMemoryTest, SaysWhyTokensWereComputed) {
  with_tier = false;
  Make({.max_num_seqs = 4, .max_num_batched_tokens = 64}, kPages);
  const GenerateRequest a = Prompt(8 * kPage + 3, 1, 1);
  scheduler->Add(1, a, now);
  Computed();
  EXPECT_EQ(Lost(PrefixLoss::kNever), static_cast<uint64_t>(8 * kPage));
  EXPECT_EQ(Lost(PrefixLoss::kPartial), 3U);
  scheduler->Add(2, Prompt(12 * kPage, 2), now);
  Computed();
  scheduler->Add(3, a, now);
  Computed();
  EXPECT_EQ(Lost(PrefixLoss::kEvicted), static_cast<uint64_t>(8 * kPage));
  GenerateRequest scored = a;
  scored.sampling.prompt_logprobs = 1;
  scheduler->Add(4, scored, now);
  Computed();
  EXPECT_EQ(Lost(PrefixLoss::kScored), static_cast<uint64_t>(8 * kPage + 3));
}

// ---- Pins ------------------------------------------------------------------------------------------

struct PinTest : SchedulerMemoryTest {
  void SetUp() override {
    prefix_caching = true;
    Make({.max_num_seqs = 4, .max_num_batched_tokens = 64}, (1 << 12) / kPage + 8);  // the longest, and 8 more
  }
};

TEST_F(PinTest, APinnedPrefixIsNotEvicted) {
  GenerateRequest a = Prompt(6 * kPage + 3, 1, 0);
  a.pin = true;
  scheduler->Add(1, a, now);
  Computed();
  Outcome& kept = outcomes[std::pair(1, 0)];
  ASSERT_TRUE(kept.pin);
  EXPECT_EQ(kept.pin.pages(), 6);
  EXPECT_EQ(mocked.cache->Stats().pinned_pages, 6);
  scheduler->Add(2, Prompt((1 << 12) - 1, 2), now);
  Computed();
  a.pin = false;
  a.stop.max_tokens = 1;
  scheduler->Add(3, a, now);
  EXPECT_EQ(Computed(), 3);
  kept.pin.Reset();
  EXPECT_EQ(mocked.cache->Stats().pinned_pages, 0);
  EXPECT_GE(mocked.cache->Stats().cached_pages, 6);
}

TEST_F(PinTest, PinsLeaveRoomForTheLongestRequest) {
  EXPECT_EQ(scheduler->most_pinned(), 8);
  GenerateRequest a = Prompt(9 * kPage, 1, 1);
  a.pin = true;
  scheduler->Add(1, a, now);
  Computed();
  const Outcome& outcome = outcomes[std::pair(1, 0)];
  EXPECT_FALSE(outcome.pin);
  EXPECT_EQ(outcome.finish.pin_error.code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(outcome.finish.finish, FinishReason::kLength);  // the answer itself is well
  EXPECT_EQ(mocked.cache->Stats().pinned_pages, 0);
}

// ---- Tenants ---------------------------------------------------------------------------------------

struct SchedulerTenantTest : SchedulerMemoryTest {
  void SetUp() override {
    prefix_caching = true;
    tenants = {{.name = "default"}, {.name = "a", .floor_pages = 4}, {.name = "b", .quota_pages = 6}};
    Make({.max_num_seqs = 4, .max_num_batched_tokens = 64}, 16);
  }
  GenerateRequest Of(memory::TenantId tenant, GenerateRequest request) {
    request.tenant = tenant;
    return request;
  }
};

TEST_F(SchedulerTenantTest, TenantsShareNothing) {
  scheduler->Add(1, Of(1, Prompt(3 * kPage, 1)), now);
  Computed();
  scheduler->Add(2, Of(2, Prompt(3 * kPage, 1)), now);
  EXPECT_EQ(Computed(), 3 * kPage);
  scheduler->Add(3, Of(1, Prompt(3 * kPage, 1)), now);
  EXPECT_EQ(Computed(), kPage);
}

TEST_F(SchedulerTenantTest, AFloorKeepsCachedPagesFromOthers) {
  scheduler->Add(1, Of(1, Prompt(4 * kPage + 1, 1)), now);
  Computed();
  scheduler->Add(2, Of(0, Prompt(12 * kPage, 2)), now);
  Computed();
  EXPECT_EQ(mocked.cache->TenantStats(1).charged(), 4);
  scheduler->Add(3, Of(1, Prompt(4 * kPage + 1, 1)), now);
  EXPECT_EQ(Computed(), 1);
}

TEST_F(SchedulerTenantTest, AQuotaHoldsUnderLoad) {
  for (RequestKey key = 1; key <= 6; ++key) {
    scheduler->Add(key, Of(2, Prompt(2 * kPage + 1, static_cast<Token>(key), kPage)), now);
  }
  while (!scheduler->idle()) {
    Step();
    EXPECT_LE(mocked.cache->TenantStats(2).charged(), 6);
  }
  for (RequestKey key = 1; key <= 6; ++key) {
    EXPECT_EQ(outcomes[std::pair(key, 0)].tokens.size(), static_cast<size_t>(kPage));
  }
}

TEST_F(SchedulerTenantTest, ARequestBeyondTheQuotaIsRefused) {
  EXPECT_FALSE(CheckFits(Of(2, Prompt(6 * kPage + 1, 1)), *mocked.cache).ok());
  EXPECT_TRUE(CheckFits(Of(2, Prompt(6 * kPage, 1)), *mocked.cache).ok());
  EXPECT_FALSE(CheckFits(Of(0, Prompt(12 * kPage + 1, 1)), *mocked.cache).ok());  // a's floor is not for others
  EXPECT_FALSE(CheckFits(Of(7, Prompt(1, 1)), *mocked.cache).ok());
}

// ---- Size ------------------------------------------------------------------------------------------

TEST_F(SchedulerMemoryTest, ARequestThatNoLongerFitsEndsWithAnError) {
  ASSERT_TRUE(mocked.cache->Resize(4).ok());
  scheduler->Add(1, Prompt(5 * kPage, 1), now);
  Step();
  EXPECT_TRUE(scheduler->idle());
  EXPECT_EQ(outcomes[std::pair(1, 0)].finish.error.code, ErrorCode::kInvalidArgument);
}

TEST_F(SchedulerMemoryTest, TheCacheDoesNotShrinkBelowWhatARequestNeeds) {
  scheduler->Add(1, Prompt(5 * kPage, 1, 10), now);
  EXPECT_FALSE(scheduler->CheckResize(5).ok());
  EXPECT_TRUE(scheduler->CheckResize(6).ok());
  Computed();
  EXPECT_TRUE(scheduler->CheckResize(1).ok());
}

TEST_F(SchedulerMemoryTest, AllWaitThroughASleep) {
  const GenerateRequest a = Prompt(3 * kPage, 1, 20);
  scheduler->Add(1, a, now);
  Step();
  Step();
  scheduler->PreemptAll();
  ASSERT_TRUE(mocked.cache->Sleep().ok());
  EXPECT_EQ(mocked.cache->Stats().created_pages, 0);
  EXPECT_EQ(mocked.cache->backend().PhysicalBytes(), 0);
  scheduler->Tick(now);
  ASSERT_TRUE(mocked.cache->Wake().ok());
  Computed();
  ExpectAnswer(1, a);
}

}  // namespace
}  // namespace causeway::scheduler
