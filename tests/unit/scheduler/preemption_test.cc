// What happens when pages run out.
#include <gtest/gtest.h>

#include "tests/support/scheduler_fixture.h"

namespace causeway::scheduler {
namespace {

struct PreemptionTest : SchedulerFixture {
  // 4 pages of 16 positions.
  void SetUp() override { Make({.max_num_seqs = 4, .max_num_batched_tokens = 64, .max_prefill_stall_steps = 4}, 4); }
};

TEST_F(PreemptionTest, FitsIsExactToTheLastPosition) {
  const auto fits = [&](int64_t prompt, int64_t output) {
    return CheckFits(MakeTestRequest(prompt, output), *mocked.cache);
  };
  EXPECT_TRUE(fits(4 * kPage, 0).ok());
  EXPECT_TRUE(fits(4 * kPage, 1).ok());  // the last token is never stored
  EXPECT_TRUE(fits(1, 4 * kPage).ok());
  EXPECT_EQ(fits(4 * kPage, 2).error().param, "max_tokens");
  EXPECT_EQ(fits(4 * kPage + 1, 0).error().param, "prompt");
}

TEST_F(PreemptionTest, APromptOfTheWholePoolRunsAlone) {
  scheduler->Add(1, MakeTestRequest(4, 3), now);
  scheduler->Add(2, MakeTestRequest(4 * kPage, 1), now);
  scheduler->Add(3, MakeTestRequest(4, 3), now);  // must not overtake, or the big one would never come
  Step();
  EXPECT_EQ(scheduler->running(), 1);
  StepUntilIdle();
  EXPECT_EQ(scheduler->preemptions(), 0U);
  EXPECT_EQ((outcomes[{2, 0}].tokens), ExpectedOutput(MakeTestRequest(4 * kPage, 1), 0));
  EXPECT_LE((outcomes[{2, 0}].finish.times.scheduled), (outcomes[{3, 0}].finish.times.scheduled));
}

// Both are let in, both outgrow the pool together: the newer one goes, comes back, and nothing shows.
TEST_F(PreemptionTest, TheLastInPrecedenceGoesAndComesBack) {
  const GenerateRequest first = MakeTestRequest(kPage, 30, 1);
  const GenerateRequest second = MakeTestRequest(kPage - 6, 40, 2);
  scheduler->Add(1, first, now);
  scheduler->Add(2, second, now);
  StepUntilIdle();
  EXPECT_GT(scheduler->preemptions(), 0U);
  EXPECT_EQ((outcomes[{1, 0}].finish.preemptions), 0);
  EXPECT_GT((outcomes[{2, 0}].finish.preemptions), 0);
  EXPECT_EQ((outcomes[{1, 0}].tokens), ExpectedOutput(first, 0));
  EXPECT_EQ((outcomes[{2, 0}].tokens), ExpectedOutput(second, 0));
}

TEST_F(PreemptionTest, TheLessImportantOneGoesThoughItIsOlder) {
  GenerateRequest low = MakeTestRequest(kPage, 30, 1);
  low.priority = Priority::kLow;
  scheduler->Add(1, low, now);
  scheduler->Add(2, MakeTestRequest(kPage, 40, 2), now);
  StepUntilIdle();
  EXPECT_GT((outcomes[{1, 0}].finish.preemptions), 0);
  EXPECT_EQ((outcomes[{2, 0}].finish.preemptions), 0);
  EXPECT_EQ((outcomes[{1, 0}].tokens), ExpectedOutput(low, 0));
}

// A queue deadline is about starting; who was preempted has started.
TEST_F(PreemptionTest, AQueueDeadlineDoesNotEndThePreempted) {
  GenerateRequest second = MakeTestRequest(kPage - 6, 40, 2);
  second.queue_deadline = now + std::chrono::seconds(1);
  scheduler->Add(1, MakeTestRequest(kPage, 30, 1), now);
  scheduler->Add(2, second, now);
  while (scheduler->preemptions() == 0) {
    Step();
  }
  now += std::chrono::seconds(5);
  Step();
  EXPECT_EQ(scheduler->NextDeadline(), kNever);  // else an engine with nothing to run would spin
  StepUntilIdle();
  EXPECT_EQ((outcomes[{2, 0}].tokens), ExpectedOutput(second, 0));
}

TEST_F(PreemptionTest, PromptScoresComeOnceThoughComputedTwice) {
  Make({.max_num_seqs = 4, .max_num_batched_tokens = 8, .max_prefill_stall_steps = 2}, 4);
  scheduler->Add(1, MakeTestRequest(2 * kPage - 2, 18, 1), now);
  Step();
  GenerateRequest scored = MakeTestRequest(kPage + 10, 4, 2);
  scored.sampling.prompt_logprobs = 0;
  scored.priority = Priority::kLow;
  scheduler->Add(2, scored, now);
  StepUntilIdle();
  const std::vector<float>& scores = outcomes[{2, 0}].prompt_scores;
  ASSERT_EQ(scores.size(), scored.prompt.size());
  for (size_t i = 0; i < scores.size(); ++i) {
    EXPECT_EQ(scores[i], static_cast<float>(i));
  }
}

// Newcomers leave the running ones a page each to grow by: no admission that ends in a preemption at once.
TEST_F(PreemptionTest, AdmissionLeavesRoomToGrow) {
  scheduler->Add(1, MakeTestRequest(2 * kPage, 10), now);  // holds 2 pages, will need a third
  scheduler->Add(2, MakeTestRequest(2 * kPage, 1), now);   // would take the other 2
  Step();
  EXPECT_EQ(scheduler->running(), 1);
  StepUntilIdle();
  EXPECT_EQ(scheduler->preemptions(), 0U);
}

// A backend that fails once costs the one sequence a recomputation; others keep their pages.
TEST_F(PreemptionTest, AFailureOfTheBackendTouchesOneSequence) {
  scheduler->Add(1, MakeTestRequest(kPage, 10, 1), now);
  scheduler->Add(2, MakeTestRequest(kPage - 8, 10, 2), now);
  Step();
  mocked.mock->FailNth(memory::VmCall::kMap, 1);
  Step();  // 1 needs its second page
  EXPECT_EQ(scheduler->running(), 1);
  EXPECT_EQ(scheduler->preemptions(), 1U);
  StepUntilIdle();
  EXPECT_EQ((outcomes[{1, 0}].finish.preemptions), 1);
  EXPECT_EQ((outcomes[{2, 0}].finish.preemptions), 0);
  EXPECT_EQ((outcomes[{1, 0}].tokens), ExpectedOutput(MakeTestRequest(kPage, 10, 1), 0));
}

}  // namespace
}  // namespace causeway::scheduler
