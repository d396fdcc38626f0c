// A scheduler on a mocked cache with a fake executor and a clock that the test moves.
#pragma once

#include <map>
#include <memory>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "scheduler/scheduler.h"
#include "tests/support/fake_executor.h"
#include "tests/support/fake_tier.h"
#include "tests/support/kv_fixtures.h"

namespace causeway::scheduler {

inline constexpr int64_t kPage = memory::kTestTokensPerPage;

inline GenerateRequest MakeTestRequest(int64_t prompt_tokens, int64_t max_tokens, uint64_t seed = 1) {
  GenerateRequest request;
  for (int64_t i = 0; i < prompt_tokens; ++i) {
    request.prompt.push_back(static_cast<Token>(i % kFakeVocab));
  }
  request.stop.max_tokens = max_tokens;
  request.sampling.seed = seed;
  return request;
}

struct SchedulerFixture : testing::Test {
  void Make(SchedulerOptions options, int64_t pages) {
    options.max_model_len = 1 << 12;
    options.prefix_caching = prefix_caching;
    auto cache_options = memory::TestCacheOptions(pages, options.max_num_seqs, options.max_model_len / kPage);
    cache_options.tenants = tenants;
    memory::KvCacheParts parts;
    if (with_tier) {
      auto owned = std::make_unique<memory::FakeTier>(cache_options.geometry.page_bytes);
      tier = owned.get();
      parts.tier = std::move(owned);
    }
    scheduler.reset();
    mocked = memory::MakeMockedCache(cache_options, memory::MockBackend::Storage::kNone, std::move(parts));
    scheduler = std::make_unique<Scheduler>(options, *mocked.cache);
    max_tokens = options.max_num_batched_tokens;
  }

  // One step as the engine makes it. The plan is gone afterwards; `rows` says what it had.
  void Step() {
    const Plan& plan = scheduler->Next(now);
    EXPECT_LE(plan.total_tokens, max_tokens);
    rows.clear();
    for (const PlanRow& row : plan.rows) {
      rows.push_back({row.sequence, static_cast<int64_t>(row.tokens.size()), row.first_position, row.sample});
    }
    if (!plan.empty()) {
      executor.Launch(plan);
      if (const auto result = executor.Await(); result.ok()) {
        scheduler->Apply(**result, now);
      } else {
        scheduler->ApplyFailure(result.error(), now);
      }
    }
    scheduler->CheckInvariants();
    std::vector<SchedulerEvent> events;
    scheduler->TakeEvents(events);
    for (SchedulerEvent& event : events) {
      Outcome& outcome = outcomes[{event.request, event.output.index}];
      ASSERT_FALSE(outcome.finished) << "an event after the last";
      if (event.output.kind == OutputEvent::Kind::kToken) {
        outcome.tokens.push_back(event.output.token);
      } else if (event.output.kind == OutputEvent::Kind::kPromptToken) {
        outcome.prompt_scores.push_back(event.output.logprob);
      } else {
        outcome.finished = true;
        outcome.finish = std::move(event.output);
        outcome.pin = std::move(event.pin);
        last_events += event.last ? 1 : 0;
      }
    }
  }
  void StepUntilIdle(int limit = 10000) {
    for (int i = 0; i < limit && !scheduler->idle(); ++i) {
      Step();
    }
    ASSERT_TRUE(scheduler->idle());
    EXPECT_EQ(mocked.cache->Stats().live_pages, 0);
  }

  struct Row {
    SequenceId sequence;
    int64_t tokens;
    int64_t first_position;
    bool sample;
    bool operator==(const Row&) const = default;
  };
  struct Outcome {
    std::vector<Token> tokens;
    std::vector<float> prompt_scores;
    bool finished = false;
    OutputEvent finish;
    memory::PrefixPin pin;
  };

  bool prefix_caching = false;  // test prompts are all alike: most tests want them computed
  Instant now = Instant() + std::chrono::hours(1);
  bool with_tier = false;
  std::vector<memory::TenantLimits> tenants;  // empty: one
  memory::FakeTier* tier = nullptr;
  memory::MockedCache mocked;
  FakeExecutor executor;
  std::unique_ptr<Scheduler> scheduler;
  int64_t max_tokens = 0;
  std::vector<Row> rows;
  std::map<std::pair<RequestKey, int>, Outcome> outcomes;
  int last_events = 0;
};

}  // namespace causeway::scheduler
