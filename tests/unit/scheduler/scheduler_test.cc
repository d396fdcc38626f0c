// Planning and the life of a sequence. What happens when pages run out is in preemption_test.cc.
#include "scheduler/scheduler.h"

#include <gtest/gtest.h>

#include "tests/support/scheduler_fixture.h"

namespace causeway::scheduler {
namespace {

struct SchedulerTest : SchedulerFixture {
  void SetUp() override { Make({.max_num_seqs = 4, .max_num_batched_tokens = 8, .max_prefill_stall_steps = 4}, 64); }
};

TEST_F(SchedulerTest, ChunksAPromptAndThenDecodes) {
  const GenerateRequest request = MakeTestRequest(19, 3);
  scheduler->Add(1, request, now);
  Step();
  EXPECT_EQ(rows, (std::vector<Row>{{1, 8, 0, false}}));
  Step();
  EXPECT_EQ(rows, (std::vector<Row>{{1, 8, 8, false}}));
  Step();
  EXPECT_EQ(rows, (std::vector<Row>{{1, 3, 16, true}}));
  Step();
  EXPECT_EQ(rows, (std::vector<Row>{{1, 1, 19, true}}));
  Step();
  EXPECT_EQ(rows, (std::vector<Row>{{1, 1, 20, true}}));
  EXPECT_TRUE(scheduler->idle());
  const Outcome& outcome = outcomes[{1, 0}];
  EXPECT_EQ(outcome.tokens, ExpectedOutput(request, 0));
  EXPECT_EQ(outcome.finish.finish, FinishReason::kLength);
  EXPECT_EQ(outcome.finish.prompt_tokens, 19);
  EXPECT_EQ(outcome.finish.output_tokens, 3);
  EXPECT_EQ(mocked.cache->Stats().live_pages, 0);
  EXPECT_TRUE(scheduler->Next(now).empty());
}

TEST_F(SchedulerTest, DecodesComeFirstAndThePrefillTakesTheRest) {
  scheduler->Add(1, MakeTestRequest(2, 50), now);
  scheduler->Add(2, MakeTestRequest(3, 50), now);
  Step();
  scheduler->Add(3, MakeTestRequest(20, 1), now);
  Step();
  EXPECT_EQ(rows, (std::vector<Row>{{1, 1, 2, true}, {2, 1, 3, true}, {3, 6, 0, false}}));
}

TEST_F(SchedulerTest, RunsNoMoreSequencesThanAllowed) {
  GenerateRequest request = MakeTestRequest(1, 2);
  request.n = 6;
  scheduler->Add(1, request, now);
  Step();
  EXPECT_EQ(scheduler->running(), 4);
  EXPECT_EQ(scheduler->waiting(), 2);
  EXPECT_EQ(scheduler->backlog_tokens(), 2);
  StepUntilIdle();
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ((outcomes[{1, i}].tokens), ExpectedOutput(request, i)) << i;
  }
  EXPECT_NE((outcomes[{1, 0}].tokens), (outcomes[{1, 1}].tokens));
  EXPECT_EQ(last_events, 1);
}

// A stalled prefill takes half of every other step; the four decodes share the other half in turn.
TEST_F(SchedulerTest, DecodesBeyondTheBudgetTakeTurns) {
  Make({.max_num_seqs = 8, .max_num_batched_tokens = 4, .max_prefill_stall_steps = 2}, 64);
  GenerateRequest low = MakeTestRequest(600, 1);
  low.priority = Priority::kLow;
  scheduler->Add(1, low, now);
  Step();
  GenerateRequest decodes = MakeTestRequest(1, 500);
  decodes.n = 4;
  decodes.priority = Priority::kHigh;
  scheduler->Add(2, decodes, now);
  Step();
  std::map<SequenceId, int> last;
  int shared = 0;
  for (int step = 0; step < 100; ++step) {
    Step();
    shared += rows.back().sequence == 1 && rows.back().tokens == 2 ? 1 : 0;
    for (const Row& row : rows) {
      if (last.contains(row.sequence)) {
        EXPECT_LE(step - last[row.sequence], 2);
      }
      last[row.sequence] = step;
    }
  }
  EXPECT_EQ(last.size(), 5U);
  EXPECT_EQ(shared, 50);
}

// Five decodes fill a step of five; the prefill still gets on at least every three steps.
TEST_F(SchedulerTest, AStalledPrefillAdvances) {
  Make({.max_num_seqs = 8, .max_num_batched_tokens = 5, .max_prefill_stall_steps = 3}, 64);
  scheduler->Add(9, MakeTestRequest(40, 1), now);
  Step();  // the long prompt comes in
  GenerateRequest decodes = MakeTestRequest(1, 300);
  decodes.n = 5;
  decodes.priority = Priority::kHigh;
  scheduler->Add(1, decodes, now);
  int since = 0;
  for (int step = 0; step < 80 && !outcomes[{9, 0}].finished; ++step) {
    Step();
    const bool served = std::any_of(rows.begin(), rows.end(), [](const Row& row) { return row.sequence == 1; });
    since = served ? 0 : since + 1;
    EXPECT_LT(since, 3);
    const auto singles = std::count_if(rows.begin(), rows.end(), [](const Row& row) { return row.sequence != 1; });
    EXPECT_GT(singles, 0) << "a stalled prefill must not stall the decodes";
  }
  EXPECT_TRUE((outcomes[{9, 0}].finished));
}

TEST_F(SchedulerTest, MoreImportantPromptsParkAPrefill) {
  GenerateRequest low = MakeTestRequest(100, 1);
  low.priority = Priority::kLow;
  scheduler->Add(1, low, now);
  Step();
  EXPECT_EQ(rows, (std::vector<Row>{{1, 8, 0, false}}));
  GenerateRequest high = MakeTestRequest(6, 1);
  high.priority = Priority::kHigh;
  scheduler->Add(2, high, now);
  Step();
  EXPECT_EQ(rows, (std::vector<Row>{{1, 2, 8, false}, {2, 6, 0, true}}));
}

TEST_F(SchedulerTest, AdmitsByClassLiftedByAge) {
  Make({.max_num_seqs = 1, .max_num_batched_tokens = 8, .max_prefill_stall_steps = 4}, 64);
  const auto add = [&](RequestKey key, Priority priority) {
    GenerateRequest request = MakeTestRequest(4, 1);
    request.priority = priority;
    request.arrival = now;
    scheduler->Add(key, request, now);
  };
  add(1, Priority::kLow);
  now += std::chrono::seconds(1);
  add(2, Priority::kNormal);
  add(3, Priority::kHigh);
  now += std::chrono::seconds(61);
  add(4, Priority::kHigh);  // an old low one goes before it
  std::vector<SequenceId> order;
  while (!scheduler->idle()) {
    Step();
    order.push_back(rows.at(0).sequence);
  }
  EXPECT_EQ(order, (std::vector<SequenceId>{3, 2, 1, 4}));
}

// ---- Ends ------------------------------------------------------------------------------------------

TEST_F(SchedulerTest, EndTokensEndOnlyFromMinTokensOn) {
  GenerateRequest request = MakeTestRequest(3, 400);
  request.stop.eos_ids = {7, 8};
  request.stop.stop_token_ids = {9};
  request.stop.min_tokens = 100;
  scheduler->Add(1, request, now);
  GenerateRequest endless = request;
  endless.stop.ignore_eos = true;
  endless.stop.stop_token_ids.clear();
  scheduler->Add(2, endless, now);
  StepUntilIdle();
  const Outcome& ended = outcomes[{1, 0}];
  EXPECT_EQ(ended.tokens, ExpectedOutput(request, 0));
  EXPECT_EQ(ended.finish.finish, FinishReason::kStop);
  EXPECT_EQ(ended.finish.stop_token, ended.tokens.back());
  EXPECT_GT(ended.tokens.size(), 100U);
  EXPECT_LT(ended.tokens.size(), 400U);
  EXPECT_EQ((outcomes[{2, 0}].tokens.size()), 400U);
  EXPECT_EQ((outcomes[{2, 0}].finish.finish), FinishReason::kLength);
}

TEST_F(SchedulerTest, MaxTokensZeroScoresThePromptOnly) {
  GenerateRequest request = MakeTestRequest(20, 0);
  request.sampling.prompt_logprobs = 0;
  request.n = 2;
  scheduler->Add(1, request, now);
  StepUntilIdle();
  const std::vector<float> scores = outcomes[{1, 0}].prompt_scores;
  ASSERT_EQ(scores.size(), 20U);  // the first has none; each comes once, in order
  for (size_t i = 0; i < scores.size(); ++i) {
    EXPECT_EQ(scores[i], static_cast<float>(i));
  }
  EXPECT_TRUE((outcomes[{1, 1}].prompt_scores.empty()));
  EXPECT_TRUE((outcomes[{1, 1}].tokens.empty()));
  EXPECT_EQ((outcomes[{1, 1}].finish.finish), FinishReason::kLength);
}

TEST_F(SchedulerTest, CancelsAtTheNextBoundary) {
  GenerateRequest request = MakeTestRequest(20, 50);
  request.n = 3;
  scheduler->Add(1, request, now);
  scheduler->Add(2, MakeTestRequest(4, 50), now);
  Step();
  scheduler->Cancel(1, 2);  // waits
  scheduler->Cancel(1, 0);  // runs
  scheduler->Cancel(1, 0);  // again
  scheduler->Cancel(1, 3);  // is the other request's, were it not for the range
  scheduler->Cancel(77, -1);
  Step();
  EXPECT_EQ((outcomes[{1, 0}].finish.finish), FinishReason::kCancelled);
  EXPECT_EQ((outcomes[{1, 2}].finish.finish), FinishReason::kCancelled);
  EXPECT_FALSE((outcomes[{1, 1}].finished));
  EXPECT_FALSE((outcomes[{2, 0}].finished));
  scheduler->Cancel(1, -1);
  scheduler->Cancel(2, -1);
  EXPECT_TRUE(scheduler->Next(now).empty());
  EXPECT_TRUE(scheduler->idle());
  EXPECT_EQ(mocked.cache->Stats().live_pages, 0);
}

TEST_F(SchedulerTest, DeadlinesEndWithAnError) {
  Make({.max_num_seqs = 1, .max_num_batched_tokens = 8, .max_prefill_stall_steps = 4}, 64);
  GenerateRequest first = MakeTestRequest(4, 1000);
  first.queue_deadline = now + std::chrono::seconds(1);  // started at once: never applies
  first.run_deadline = now + std::chrono::seconds(9);
  GenerateRequest second = MakeTestRequest(4, 1000);
  second.queue_deadline = now + std::chrono::seconds(3);
  scheduler->Add(1, first, now);
  scheduler->Add(2, second, now);
  Step();
  now += std::chrono::seconds(2);
  Step();
  EXPECT_FALSE((outcomes[{1, 0}].finished));
  EXPECT_GT(scheduler->NextDeadline(), now);
  now += std::chrono::seconds(1);
  Step();
  EXPECT_EQ((outcomes[{2, 0}].finish.error.code), ErrorCode::kDeadlineExceeded);
  EXPECT_NE((outcomes[{2, 0}].finish.error.message.find("queue")), std::string::npos);
  EXPECT_FALSE((outcomes[{1, 0}].finished));
  now += std::chrono::seconds(6);
  Step();
  EXPECT_EQ((outcomes[{1, 0}].finish.finish), FinishReason::kError);
  EXPECT_NE((outcomes[{1, 0}].finish.error.message.find("run")), std::string::npos);
  EXPECT_TRUE(scheduler->idle());
  EXPECT_EQ(scheduler->Next(now).rows.size(), 0U);
  EXPECT_EQ(scheduler->NextDeadline(), kNever);
}

TEST_F(SchedulerTest, AFailedStepEndsItsSequencesOnly) {
  scheduler->Add(1, MakeTestRequest(4, 10), now);
  scheduler->Add(2, MakeTestRequest(30, 10), now);
  scheduler->Add(3, MakeTestRequest(4, 10), now);  // not in the first step: the budget is 8
  executor.failure = MakeError(ErrorCode::kInternal, "the machine failed");
  Step();
  EXPECT_EQ((outcomes[{1, 0}].finish.error.message), "the machine failed");
  EXPECT_EQ((outcomes[{2, 0}].finish.finish), FinishReason::kError);
  EXPECT_FALSE((outcomes[{3, 0}].finished));
  StepUntilIdle();
  EXPECT_EQ((outcomes[{3, 0}].tokens), ExpectedOutput(MakeTestRequest(4, 10), 0));
}

TEST_F(SchedulerTest, FailAllLeavesNothing) {
  GenerateRequest request = MakeTestRequest(4, 10);
  request.n = 6;
  scheduler->Add(1, request, now);
  Step();
  scheduler->FailAll(MakeError(ErrorCode::kUnavailable, "gone"), now);
  EXPECT_TRUE(scheduler->idle());
  Step();
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ((outcomes[{1, i}].finish.error.code), ErrorCode::kUnavailable);
  }
  EXPECT_EQ(last_events, 1);
  EXPECT_EQ(mocked.cache->Stats().live_pages, 0);
}

}  // namespace
}  // namespace causeway::scheduler
