// What a plan may say of a row's KV, run on the built-in model: a shared prefix, however it is spelled, changes no bit.
#include "model/runner.h"

#include <cstring>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "base/rng.h"
#include "kernels/ops.h"
#include "model/model.h"

namespace causeway::model {
namespace {

constexpr int64_t kPages = 4;  // of a range
constexpr int64_t kSequences = 3;

// Ranges of pages on the heap, a runner, and the logits of its last step.
class RunnerTest : public testing::Test {
 protected:
  RunnerTest() {
    geometry_ = memory::ChooseGeometry(model_->KvShape(4), 4096).value();
    runner_ =
        std::make_unique<Runner>(*model_, **kernels::SelectOps(""), pool_,
                                 RunnerOptions{.geometry = geometry_, .max_batched_tokens = 512, .max_num_seqs = 8});
    runner_->SetLogitsObserver([this](const scheduler::PlanRow&, int64_t, std::span<const float> row) {
      logits_.insert(logits_.end(), row.begin(), row.end());
    });
    greedy_.temperature = 0;
    prefix_ = Tokens(100, 2 * geometry_.tokens_per_page);
    for (uint64_t i = 0; i < kSequences; ++i) {
      tails_.push_back(Tokens(i, 5 + 7 * static_cast<int64_t>(i)));
    }
  }

  std::vector<Token> Tokens(uint64_t stream, int64_t count) const {
    std::vector<Token> tokens;
    for (uint64_t i = 0; i < static_cast<uint64_t>(count); ++i) {
      tokens.push_back(static_cast<Token>(RandomBits(3, stream, i) % static_cast<uint64_t>(model_->info.vocab)));
    }
    return tokens;
  }

  scheduler::PlanSegment NewRange(int64_t first_position, int64_t pages) {
    memory_.push_back(std::make_unique<std::byte[]>(static_cast<size_t>(pages * geometry_.page_bytes)));
    return {memory_.back().get(), first_position, pages * geometry_.tokens_per_page};
  }

  scheduler::PlanRow Row(const std::vector<Token>& tokens, int64_t first_position,
                         std::span<const scheduler::PlanSegment> segments) const {
    scheduler::PlanRow row;
    row.tokens = tokens;
    row.first_position = first_position;
    row.segments = segments;
    row.sampling = &greedy_;
    row.prompt = tokens;
    row.length_limit = first_position + static_cast<int64_t>(tokens.size());
    return row;
  }

  std::vector<float> Step(std::vector<scheduler::PlanRow> rows) {
    scheduler::Plan plan;
    plan.rows = std::move(rows);
    for (const scheduler::PlanRow& row : plan.rows) {
      plan.total_tokens += static_cast<int64_t>(row.tokens.size());
    }
    logits_.clear();
    runner_->Launch(plan);
    EXPECT_TRUE(runner_->Await().ok());
    return logits_;
  }

  int64_t shared() const { return static_cast<int64_t>(prefix_.size()); }
  size_t SharedBytes() const { return static_cast<size_t>(geometry_.PagesFor(shared()) * geometry_.page_bytes); }

  const std::unique_ptr<const Model> model_ = LoadModel({}).value();
  memory::KvGeometry geometry_;
  ThreadPool pool_{{.threads = 2, .pin = false}};
  std::unique_ptr<Runner> runner_;
  scheduler::SamplingParams greedy_;
  std::vector<Token> prefix_;
  std::vector<std::vector<Token>> tails_;
  std::vector<std::unique_ptr<std::byte[]>> memory_;
  std::vector<float> logits_;
};

TEST_F(RunnerTest, ASharedPrefixHasTheBitsOfAPrivateOne) {
  std::vector<float> alone;
  std::vector<scheduler::PlanSegment> whole;
  for (const auto& tail : tails_) {
    whole.push_back(NewRange(0, kPages));
    Step({Row(prefix_, 0, {&whole.back(), 1})});
    const auto logits = Step({Row(tail, shared(), {&whole.back(), 1})});
    alone.insert(alone.end(), logits.begin(), logits.end());
  }

  // As segments: one range for all, then each its own.
  const scheduler::PlanSegment first = NewRange(0, geometry_.PagesFor(shared()));
  Step({Row(prefix_, 0, {&first, 1})});
  std::vector<std::vector<scheduler::PlanSegment>> spelled;
  std::vector<scheduler::PlanRow> rows;
  for (int64_t i = 0; i < kSequences; ++i) {
    spelled.push_back({first, NewRange(shared(), 1)});
  }
  for (size_t i = 0; i < kSequences; ++i) {
    rows.push_back(Row(tails_[i], shared(), spelled[i]));
  }
  const auto as_segments = Step(rows);

  // As aliases: equal bytes at addresses of their own, and a group that says so. The bytes of all but the first are
  // spoilt, which shows that the group was believed.
  rows.clear();
  for (size_t i = 0; i < kSequences; ++i) {
    if (i > 0) {
      std::memset(whole[i].base, 0xff, SharedBytes());
    }
    rows.push_back(Row(tails_[i], shared(), {&whole[i], 1}));
    rows.back().share_group = 4;
    rows.back().shared_positions = shared();
  }
  const auto as_aliases = Step(rows);

  ASSERT_EQ(as_segments.size(), alone.size());
  ASSERT_EQ(as_aliases.size(), alone.size());
  EXPECT_EQ(0, std::memcmp(as_segments.data(), alone.data(), alone.size() * sizeof(float)));
  EXPECT_EQ(0, std::memcmp(as_aliases.data(), alone.data(), alone.size() * sizeof(float)));
}

}  // namespace
}  // namespace causeway::model
