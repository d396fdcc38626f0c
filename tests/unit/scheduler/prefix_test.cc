// Sequences that begin behind the pages of others. The fake executor dies if one begins behind tokens that nobody
// computed.
#include <gtest/gtest.h>

#include "scheduler/adapter.h"
#include "tests/support/scheduler_fixture.h"

namespace causeway::scheduler {
namespace {

struct PrefixTest : SchedulerFixture {
  void SetUp() override {
    prefix_caching = true;
    Make({.max_num_seqs = 4, .max_num_batched_tokens = 64}, 64);
  }

  // Tokens computed until all is done.
  int64_t Computed() {
    int64_t tokens = 0;
    while (!scheduler->idle()) {
      Step();
      for (const Row& row : rows) {
        tokens += row.tokens;
      }
    }
    return tokens;
  }
  void ExpectAnswer(RequestKey key, const GenerateRequest& request) {
    for (int index = 0; index < request.n; ++index) {
      EXPECT_EQ(outcomes[std::pair(key, index)].tokens, ExpectedOutput(request, index)) << key << " " << index;
    }
  }
};

TEST_F(PrefixTest, ASecondRequestBeginsBehindTheKnownPages) {
  const GenerateRequest request = MakeTestRequest(3 * kPage + 5, 4);
  scheduler->Add(1, request, now);
  EXPECT_EQ(Computed(), 3 * kPage + 5 + 3);  // the last token drawn is not computed
  GenerateRequest other = request;
  other.prompt[2 * kPage + 1] = 7;  // two pages are the same
  scheduler->Add(2, other, now);
  EXPECT_EQ(Computed(), kPage + 5 + 3);
  EXPECT_EQ(outcomes[std::pair(1, 0)].finish.cached_tokens, 0);
  EXPECT_EQ(outcomes[std::pair(2, 0)].finish.cached_tokens, 2 * kPage);
  ExpectAnswer(1, request);
  ExpectAnswer(2, other);
  EXPECT_EQ(scheduler->prefix_query_tokens(), static_cast<uint64_t>(2 * (3 * kPage + 5)));
  EXPECT_EQ(scheduler->prefix_hit_tokens(), static_cast<uint64_t>(2 * kPage));
}

TEST_F(PrefixTest, TheLastTokenIsComputedAlways) {
  const GenerateRequest request = MakeTestRequest(2 * kPage, 1);
  scheduler->Add(1, request, now);
  Computed();
  scheduler->Add(2, request, now);
  EXPECT_EQ(Computed(), kPage);  // its page is known, but the token's logits are not
  ExpectAnswer(2, request);
}

TEST_F(PrefixTest, AnswersAreKnownToo) {
  const GenerateRequest first = MakeTestRequest(kPage, 2 * kPage);
  scheduler->Add(1, first, now);
  Computed();
  GenerateRequest turn = MakeTestRequest(kPage, 1);
  const std::vector<Token> answer = ExpectedOutput(first, 0);
  turn.prompt.insert(turn.prompt.end(), answer.begin(), answer.end());
  turn.prompt.push_back(3);
  scheduler->Add(2, turn, now);
  EXPECT_EQ(Computed(), kPage + 1);  // the answer's last token was not computed, so its page was not full
  EXPECT_EQ(outcomes[std::pair(2, 0)].finish.cached_tokens, 2 * kPage);
}

TEST_F(PrefixTest, NAnswersComputeOnePrompt) {
  GenerateRequest request = MakeTestRequest(4 * kPage + 3, 2);
  request.n = 4;
  scheduler->Add(1, request, now);
  EXPECT_EQ(Computed(), 4 * kPage + 3 + 1 + 3 * (1 + 1));  // the others: the prompt's last token and one drawn
  ExpectAnswer(1, request);
  EXPECT_EQ(outcomes[std::pair(1, 3)].finish.cached_tokens, 4 * kPage + 2);
  EXPECT_EQ(mocked.mock->calls(memory::VmCall::kCopy), 3U);
}

TEST_F(PrefixTest, SaltsShareNothing) {
  GenerateRequest request = MakeTestRequest(2 * kPage + 1, 1);
  request.cache_salt = "a";
  scheduler->Add(1, request, now);
  Computed();
  request.cache_salt = "b";
  scheduler->Add(2, request, now);
  EXPECT_EQ(Computed(), 2 * kPage + 1);
  request.cache_salt = "a";
  scheduler->Add(3, request, now);
  EXPECT_EQ(Computed(), 1);
}

TEST_F(PrefixTest, AdaptersShareWithTheirContentOnly) {
  const auto made = [](const char* name, std::byte content) {
    Digest digest{};
    digest[0] = content;
    return std::make_shared<const Adapter>(name, digest);
  };
  GenerateRequest request = MakeTestRequest(2 * kPage + 1, 1);
  RequestKey key = 0;
  const auto computed = [&](std::shared_ptr<const Adapter> adapter) {
    request.adapter = std::move(adapter);
    scheduler->Add(++key, request, now);
    return Computed();
  };
  EXPECT_EQ(computed(nullptr), 2 * kPage + 1);
  EXPECT_EQ(computed(made("a", std::byte{1})), 2 * kPage + 1);
  EXPECT_EQ(computed(made("b", std::byte{2})), 2 * kPage + 1);
  EXPECT_EQ(computed(made("another name", std::byte{1})), 1);
  EXPECT_EQ(computed(nullptr), 1);
}

// A request holds its adapter until it ends, and rows say which it is.
TEST_F(PrefixTest, AdaptersLiveAsLongAsTheirRequests) {
  auto adapter = std::make_shared<const Adapter>("a", Digest{std::byte{1}});
  const std::weak_ptr<const Adapter> alive = adapter;
  GenerateRequest request = MakeTestRequest(3, 2);
  request.adapter = adapter;
  scheduler->Add(1, request, now);
  request.adapter.reset();
  adapter.reset();
  EXPECT_EQ(scheduler->Next(now).rows.at(0).adapter, alive.lock().get());
  scheduler->ApplyFailure(MakeError(ErrorCode::kInternal, "x"), now);
  EXPECT_TRUE(alive.expired());
}

TEST_F(PrefixTest, LengthLimitsOnTwoSidesOfTheSwitchShareNothing) {
  Make({.max_num_seqs = 4, .max_num_batched_tokens = 64, .kv_switch_length = 3 * kPage}, 64);
  scheduler->Add(1, MakeTestRequest(2 * kPage + 1, 1), now);
  Computed();
  scheduler->Add(2, MakeTestRequest(2 * kPage + 1, 2 * kPage), now);
  Step();
  EXPECT_EQ(rows.at(0).first_position, 0);
}

TEST_F(PrefixTest, PromptScoresNeedTheWholePrompt) {
  GenerateRequest request = MakeTestRequest(2 * kPage + 1, 1);
  scheduler->Add(1, request, now);
  Computed();
  request.sampling.prompt_logprobs = 1;
  scheduler->Add(2, request, now);
  EXPECT_EQ(Computed(), 2 * kPage + 1);
  EXPECT_EQ(outcomes[std::pair(2, 0)].prompt_scores.size(), request.prompt.size());
}

// Two sequences outgrow the pool: the one that is preempted goes on from what is left of it.
TEST_F(PrefixTest, APreemptedSequenceGoesOnFromItsResidentPages) {
  Make({.max_num_seqs = 2, .max_num_batched_tokens = 64}, 9);
  GenerateRequest a = MakeTestRequest(2 * kPage, 4 * kPage, 1);
  GenerateRequest b = MakeTestRequest(2 * kPage, 4 * kPage, 2);
  b.prompt[0] = 9;
  scheduler->Add(1, a, now);
  scheduler->Add(2, b, now);
  const int64_t computed = Computed();
  ExpectAnswer(1, a);
  ExpectAnswer(2, b);
  EXPECT_GE(scheduler->preemptions(), 1U);
  const int64_t needed = 2 * (6 * kPage - 1);
  EXPECT_GE(computed, needed);
  EXPECT_LT(computed, needed + 4 * kPage);  // without the cache the second one computes all of its 5 pages again
}

}  // namespace
}  // namespace causeway::scheduler
