// A scheduler driven at random on a fake executor: arrivals, classes, n, lengths, cancels, deadlines, failing steps, a
// pool that is far too small and a backend that fails now and then; with and without a tier that may fail, tenants,
// states that pin, sleep, a pool that shrinks and grows. What must hold whatever happens:
//   no page is lost (CheckInvariants counts them), the token budget is kept, nobody waits without end,
//   each sequence gets the tokens it has to get, in order, then exactly one finish; the same seed, the same trace.
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "tests/support/run_scale.h"
#include "tests/support/scheduler_fixture.h"

namespace causeway::scheduler {
namespace {

constexpr int64_t kMostWaiting = 40;         // arrivals pause there
constexpr int64_t kMostStepsOfLife = 20000;  // 40 sequences of 210 tokens, one token a step, and some of it twice

class Simulation {
 public:
  explicit Simulation(uint64_t seed, memory::PrefixSpelling spelling = memory::PrefixSpelling::kAlias) : seed_(seed) {
    options_.max_num_seqs = Draw(1, 16);
    options_.max_num_batched_tokens = Draw(1, 64);
    options_.max_prefill_stall_steps = Draw(1, 6);
    options_.max_model_len = 400;
    options_.ageing = std::chrono::milliseconds(200);
    options_.prefix_caching = Draw(0, 2) > 0;
    pages_ = Draw(0, 3) == 0 ? Draw(26, 40) : Draw(3, 24);  // more than the longest request: states may pin
    auto cache = memory::TestCacheOptions(pages_, options_.max_num_seqs, 25);
    if (Draw(0, 1) == 0) {
      cache.tenants = {{.name = "default"}, {.name = "a", .floor_pages = pages_ / 6, .quota_pages = pages_ / 2 + 1}};
    }
    cache.prefix_spelling = spelling;
    tenants_ = std::max<int64_t>(1, std::ssize(cache.tenants));
    memory::KvCacheParts parts;
    if (Draw(0, 1) == 0) {
      auto tier = std::make_unique<memory::FakeTier>(cache.geometry.page_bytes, Draw(1, 80), Draw(0, 1) == 0);
      tier_ = tier.get();
      parts.tier = std::move(tier);
    }
    mocked_ = memory::MakeMockedCache(cache, memory::MockBackend::Storage::kNone, std::move(parts));
    scheduler_.emplace(options_, *mocked_.cache);
  }

  // The hash of all plans and events.
  uint64_t Run(int64_t steps) {
    for (int64_t i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
      if (scheduler_->waiting() < kMostWaiting && Draw(0, 3) == 0) {
        Arrive();
      }
      Disturb();
      Step();
    }
    for (int64_t i = 0; i < kMostStepsOfLife && !scheduler_->idle() && !testing::Test::HasFailure(); ++i) {
      Step();
    }
    EXPECT_TRUE(scheduler_->idle());
    EXPECT_TRUE(open_.empty()) << open_.size() << " sequences never ended";
    pins_.clear();
    mocked_.cache->Poll();
    mocked_.cache->CheckInvariants();
    const memory::KvCacheStats stats = mocked_.cache->Stats();
    EXPECT_EQ(stats.live_pages + stats.pinned_pages, 0);
    return trace_;
  }

  int64_t rows_in_segments() const { return rows_in_segments_; }
  int64_t grouped_rows() const { return grouped_rows_; }
  uint64_t preemptions() const { return scheduler_->preemptions(); }
  const std::set<FinishReason>& reasons() const { return reasons_; }
  int64_t longest_life() const { return longest_life_; }
  int64_t steps() const { return step_; }

 private:
  struct Open {  // a sequence that has not ended
    std::vector<Token> expected;
    size_t got = 0;
    int64_t prompt = 0;
    int64_t scored = 0;
    bool wants_scores = false;
    int64_t born = 0;
  };
  using Name = std::pair<RequestKey, int>;

  int64_t Draw(int64_t low, int64_t high) {
    const auto span = static_cast<uint64_t>(high - low + 1);
    return low + static_cast<int64_t>(RandomBits(seed_, 0, draws_++) % span);
  }
  void Trace(uint64_t value) { trace_ = Mix64(trace_ ^ value) + value; }

  void Arrive() {
    GenerateRequest request = MakeTestRequest(Draw(1, 150), Draw(0, 60), RandomBits(seed_, 1, draws_++));
    request.n = static_cast<int>(Draw(0, 3) == 0 ? Draw(2, 4) : 1);
    request.priority = static_cast<Priority>(Draw(0, 2));
    request.arrival = now_;
    request.sampling.prompt_logprobs = static_cast<int>(Draw(0, 4) == 0 ? 0 : -1);
    request.stop.eos_ids = {static_cast<Token>(Draw(0, kFakeVocab - 1))};
    request.stop.stop_token_ids = {static_cast<Token>(Draw(0, kFakeVocab - 1))};
    request.stop.ignore_eos = Draw(0, 1) == 0;
    request.stop.min_tokens = Draw(0, request.stop.max_tokens);
    request.cache_salt = Draw(0, 5) == 0 ? "salt" : "";
    request.tenant = static_cast<memory::TenantId>(Draw(0, tenants_ - 1));
    request.pin = Draw(0, 9) == 0;
    if (Draw(0, 7) == 0) {
      request.queue_deadline = now_ + std::chrono::milliseconds(Draw(10, 1000));
    }
    if (Draw(0, 7) == 0) {
      request.run_deadline = now_ + std::chrono::milliseconds(Draw(10, 3000));
    }
    if (!CheckFits(request, *mocked_.cache).ok()) {
      return;
    }
    const RequestKey key = next_key_++;
    for (int index = 0; index < request.n; ++index) {
      open_[{key, index}] = {.expected = ExpectedOutput(request, index),
                             .prompt = static_cast<int64_t>(request.prompt.size()),
                             .wants_scores = index == 0 && request.sampling.prompt_logprobs >= 0,
                             .born = step_};
    }
    scheduler_->Add(key, std::move(request), now_);
  }

  void Disturb() {
    if (Draw(0, 40) == 0 && next_key_ > 1) {
      const auto key = static_cast<RequestKey>(
          Draw(std::max<int64_t>(1, static_cast<int64_t>(next_key_) - 30), static_cast<int64_t>(next_key_)));
      scheduler_->Cancel(key, static_cast<int>(Draw(-1, 4)));
    }
    if (Draw(0, 200) == 0) {
      executor_.failure = MakeError(ErrorCode::kInternal, "a step that fails");
    }
    if (Draw(0, 30) == 0) {
      mocked_.mock->FailNth(static_cast<memory::VmCall>(Draw(0, memory::kVmCalls - 1)), static_cast<int>(Draw(1, 3)));
    }
    if (!pins_.empty() && Draw(0, 60) == 0) {
      pins_.erase(pins_.begin() + Draw(0, std::ssize(pins_) - 1));
    }
    if (tier_ != nullptr && Draw(0, 50) == 0) {
      tier_->set_good_pages(Draw(0, 2) == 0 ? Draw(0, 3) : memory::FakeTier::kAll);
      tier_->set_refuses(Draw(0, 3) == 0);
    }
    if (Draw(0, 300) == 0) {
      SleepAWhile();
    }
    if (const int64_t pages = Draw(1, pages_); Draw(0, 300) == 0 && scheduler_->CheckResize(pages).ok()) {
      static_cast<void>(mocked_.cache->Resize(pages));
    }
  }

  // The engine's part in it: all wait, then the cache gives its memory back, if no state is kept.
  void SleepAWhile() {
    if (mocked_.cache->PinnedPages() > 0) {
      return;
    }
    scheduler_->PreemptAll();
    if (mocked_.cache->Sleep().ok()) {
      scheduler_->Tick(now_);
      while (!mocked_.cache->Wake().ok()) {  // one injected failure at most
      }
    }
  }

  void Step() {
    ++step_;
    now_ += std::chrono::milliseconds(Draw(0, 20));
    const Plan& plan = scheduler_->Next(now_);
    EXPECT_GT(scheduler_->NextDeadline(), now_);
    EXPECT_LE(plan.total_tokens, options_.max_num_batched_tokens);
    scheduler_->CheckInvariants();
    if (!plan.empty()) {
      for (const PlanRow& row : plan.rows) {
        Trace(row.sequence << 32 | static_cast<uint64_t>(row.first_position) << 16 | row.tokens.size());
        Trace(static_cast<uint64_t>(row.share_group + 1) << 32 | static_cast<uint64_t>(row.shared_positions));
        rows_in_segments_ += row.segments.size() > 1 ? 1 : 0;
        grouped_rows_ += row.share_group >= 0 ? 1 : 0;
      }
      executor_.Launch(plan);
      if (const auto result = executor_.Await(); result.ok()) {
        scheduler_->Apply(**result, now_);
      } else {
        scheduler_->ApplyFailure(result.error(), now_);
      }
      scheduler_->CheckInvariants();
    }
    events_.clear();
    scheduler_->TakeEvents(events_);
    for (SchedulerEvent& event : events_) {
      Check(event);
      if (event.pin) {
        pins_.push_back(std::move(event.pin));
      }
    }
  }

  void Check(const SchedulerEvent& event) {
    const OutputEvent& output = event.output;
    Trace(event.request << 8 | static_cast<uint64_t>(output.kind) << 4 | static_cast<uint64_t>(output.finish));
    Trace(static_cast<uint64_t>(output.token));
    const auto it = open_.find({event.request, output.index});
    ASSERT_NE(it, open_.end()) << "an event of a sequence that has ended";
    Open& open = it->second;
    if (output.kind == OutputEvent::Kind::kPromptToken) {
      EXPECT_TRUE(open.wants_scores);
      EXPECT_EQ(open.got, 0U) << "scores come before tokens";
      EXPECT_EQ(output.logprob, static_cast<float>(open.scored++));
    } else if (output.kind == OutputEvent::Kind::kToken) {
      ASSERT_LT(open.got, open.expected.size());
      EXPECT_EQ(output.token, open.expected[open.got++]);
    } else {
      CheckFinish(event, open);
      open_.erase(it);
      const auto next = open_.lower_bound({event.request, 0});
      EXPECT_EQ(event.last, next == open_.end() || next->first.first != event.request);
    }
  }

  void CheckFinish(const SchedulerEvent& event, const Open& open) {
    const OutputEvent& output = event.output;
    reasons_.insert(output.finish);
    longest_life_ = std::max(longest_life_, step_ - open.born);
    EXPECT_LT(step_ - open.born, kMostStepsOfLife) << "starved";
    EXPECT_EQ(output.output_tokens, static_cast<int64_t>(open.got));
    EXPECT_EQ(output.prompt_tokens, open.prompt);
    EXPECT_FALSE(event.pin && output.index != 0);
    EXPECT_LE(mocked_.cache->PinnedPages(), scheduler_->most_pinned());
    if (output.finish == FinishReason::kStop || output.finish == FinishReason::kLength) {
      EXPECT_EQ(open.got, open.expected.size());
      EXPECT_EQ(open.scored, open.wants_scores ? open.prompt : 0);
      EXPECT_EQ(output.stop_token, output.finish == FinishReason::kStop ? open.expected.back() : -1);
    }
    EXPECT_EQ(output.finish == FinishReason::kError, !output.error.message.empty());
  }

  const uint64_t seed_;
  uint64_t draws_ = 0;
  uint64_t trace_ = 0;
  SchedulerOptions options_;
  int64_t pages_ = 0;
  int64_t tenants_ = 1;
  memory::FakeTier* tier_ = nullptr;
  memory::MockedCache mocked_;
  FakeExecutor executor_;
  std::optional<Scheduler> scheduler_;
  Instant now_ = Instant() + std::chrono::hours(1);
  int64_t step_ = 0;
  RequestKey next_key_ = 1;
  std::map<Name, Open> open_;
  std::vector<SchedulerEvent> events_;
  std::vector<memory::PrefixPin> pins_;
  std::set<FinishReason> reasons_;
  int64_t longest_life_ = 0;
  int64_t grouped_rows_ = 0;
  int64_t rows_in_segments_ = 0;
};

// Odd seeds have aliases, even ones segments.
class SchedulerSimulation : public testing::TestWithParam<uint64_t> {};

TEST_P(SchedulerSimulation, KeepsItsPromises) {
  const uint64_t seed = GetParam();
  SCOPED_TRACE("seed " + std::to_string(seed));
  const int64_t steps = kQuickBuild ? 20000 : 500;
  const auto spelling = seed % 2 == 0 ? memory::PrefixSpelling::kSegments : memory::PrefixSpelling::kAlias;
  Simulation first(seed, spelling);
  const uint64_t trace = first.Run(steps);
  RecordProperty("steps", std::to_string(first.steps()));
  RecordProperty("preemptions", std::to_string(first.preemptions()));
  RecordProperty("longest_life_steps", std::to_string(first.longest_life()));
  if (kQuickBuild) {  // a short run may miss one
    EXPECT_GT(first.preemptions(), 0U);
    EXPECT_EQ(first.reasons().size(), 4U) << "every way to end is met";
  }
  Simulation second(seed, spelling);
  EXPECT_EQ(second.Run(steps), trace);
}

INSTANTIATE_TEST_SUITE_P(Seeds, SchedulerSimulation, testing::Range<uint64_t>(1, 11));

TEST(SchedulerSimulationTest, RowsShareNowAndThen) {
  int64_t grouped = 0;
  int64_t in_segments = 0;
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    Simulation simulation(seed, memory::PrefixSpelling::kSegments);
    simulation.Run(300);
    grouped += simulation.grouped_rows();
    in_segments += simulation.rows_in_segments();
  }
  EXPECT_GT(grouped, 0);
  EXPECT_GT(in_segments, 0);
}

TEST(SchedulerSimulationTest, SeedsDiffer) { EXPECT_NE(Simulation(1).Run(100), Simulation(2).Run(100)); }

}  // namespace
}  // namespace causeway::scheduler
