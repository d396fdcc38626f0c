#include "kernels/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "tests/kernels/tables.h"

namespace causeway::kernels {
namespace {

class SamplingTest : public testing::Test {
 protected:
  SampleResult Sample(const SampleRow& row, int64_t vocab) {
    SampleResult result;
    SampleRows(stream_, {.rows = {&row, 1}, .results = {&result, 1}, .vocab = vocab});
    return result;
  }
  SampleResult Sample(SampleRow row, const std::vector<float>& logits) {
    row.logits = logits.data();
    return Sample(row, static_cast<int64_t>(logits.size()));
  }
  // Tokens that appear in many draws.
  std::map<Token, int> Histogram(SampleRow row, const std::vector<float>& logits, int draws) {
    std::map<Token, int> counts;
    for (int i = 0; i < draws; ++i) {
      row.seed = 99;
      row.counter = static_cast<uint64_t>(i);
      ++counts[Sample(row, logits).token];
    }
    return counts;
  }

 private:
  ThreadPool pool_{{.threads = 1, .pin = false}};
  Scratch scratch_{1};
  Stream stream_{pool_, scratch_};
};

TEST_F(SamplingTest, GreedyTakesTheLowestIdAmongEquals) {
  SampleRow row{};
  row.temperature = 0;
  EXPECT_EQ(Sample(row, {1, 3, 3, 2}).token, 1);
  EXPECT_EQ(Sample(row, {NAN, 3, NAN, 2}).token, 1);
}

TEST_F(SamplingTest, DrawsFollowTheDistribution) {
  const std::vector<float> logits = {std::log(0.1F), std::log(0.2F), std::log(0.3F), std::log(0.4F)};
  SampleRow row{};
  constexpr int kDraws = 20000;
  const auto counts = Histogram(row, logits, kDraws);
  double chi_square = 0;
  for (int i = 0; i < 4; ++i) {
    const double expected = kDraws * 0.1 * (i + 1);
    chi_square += std::pow(counts.at(i) - expected, 2) / expected;
  }
  EXPECT_LT(chi_square, 16.3);  // three degrees of freedom, p = 0.001
}

TEST_F(SamplingTest, TheSameSeedAndPlaceGiveTheSameToken) {
  const std::vector<float> logits(1000, 0.0F);
  SampleRow row{};
  row.seed = 5;
  row.counter = 17;
  EXPECT_EQ(Sample(row, logits).token, Sample(row, logits).token);
  std::set<Token> seen;
  for (uint64_t stream = 0; stream < 20; ++stream) {
    row.stream = stream;
    seen.insert(Sample(row, logits).token);
  }
  EXPECT_GT(seen.size(), 10U);
}

TEST_F(SamplingTest, TopKTopPAndMinPKeepWhatTheySay) {
  std::vector<float> logits(600);
  for (size_t i = 0; i < logits.size(); ++i) {
    logits[i] = std::log(1.0F / static_cast<float>((i * 7) % 600 + 1));  // a shuffled 1/rank
  }
  const auto rank = [](Token t) { return (t * 7) % 600; };
  SampleRow top_k{};
  top_k.top_k = 3;
  for (const auto& [token, count] : Histogram(top_k, logits, 500)) {
    EXPECT_LT(rank(token), 3);
  }
  SampleRow top_p{};
  top_p.top_p = 0.3F;  // harmonic weights 1, 1/2, 1/3 ... of 6.97: 0.3 is reached at rank 3 (2.09)
  for (const auto& [token, count] : Histogram(top_p, logits, 500)) {
    EXPECT_LT(rank(token), 5);
  }
  SampleRow min_p{};
  min_p.min_p = 0.1F;
  for (const auto& [token, count] : Histogram(min_p, logits, 500)) {
    EXPECT_LT(rank(token), 10);
  }
}

TEST_F(SamplingTest, TopPIsTheSmallestSetThatReachesIt) {
  const std::vector<float> logits = {std::log(0.5F), std::log(0.3F), std::log(0.2F)};
  SampleRow row{};
  row.top_p = 0.79F;
  EXPECT_EQ(Histogram(row, logits, 300).size(), 2U);
  row.top_p = 0.81F;
  EXPECT_EQ(Histogram(row, logits, 300).size(), 3U);
}

// A large vocabulary: some likely tokens in a long tail, against the plain definition by a full sort.
TEST_F(SamplingTest, TopPOfALargeVocabularyIsTheSmallestSetThatReachesIt) {
  constexpr size_t kVocab = 20000;
  std::vector<float> logits(kVocab);
  std::vector<size_t> order(kVocab);
  for (size_t i = 0; i < kVocab; ++i) {
    const size_t rank = i * 7919 % kVocab;
    logits[i] = rank < 60 ? 0.01F * static_cast<float>(rank % 30) : -12.0F - 0.001F * static_cast<float>(rank % 977);
    order[i] = i;
  }
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
  double total = 0;
  for (const float logit : logits) {
    total += std::exp(static_cast<double>(logit));
  }
  for (const float top_p : {0.01F, 0.33F, 0.8F}) {
    std::set<Token> wanted;
    double sum = 0;
    for (size_t i = 0; sum < static_cast<double>(top_p) * total; ++i) {
      wanted.insert(static_cast<Token>(order[i]));
      sum += std::exp(static_cast<double>(logits[order[i]]));
    }
    SampleRow row{};
    row.top_p = top_p;
    std::set<Token> drawn;
    for (const auto& [token, count] : Histogram(row, logits, 1500)) {
      drawn.insert(token);
    }
    EXPECT_EQ(drawn, wanted) << top_p;
  }
}

TEST_F(SamplingTest, PenaltiesBiasAndBans) {
  SampleRow row{};
  row.temperature = 0;
  const Token prompt[] = {0};
  const Token output[] = {1, 1, 2};
  row.prompt = prompt;
  row.output = output;
  row.repetition_penalty = 2.0F;
  EXPECT_EQ(Sample(row, {4.0F, 5.0F, 1.0F, 2.6F}).token, 3);  // 2, 2.5, 0.5, 2.6
  row.repetition_penalty = 1.0F;
  row.frequency_penalty = 0.5F;
  row.presence_penalty = 0.25F;
  EXPECT_EQ(Sample(row, {4.0F, 5.0F, 1.0F, 3.8F}).token, 0);  // 4, 3.75, 0.25, 3.8
  const TokenBias bias[] = {{3, 1.0F}};
  row.bias = bias;
  EXPECT_EQ(Sample(row, {4.0F, 5.0F, 1.0F, 3.8F}).token, 3);
  const Token banned[] = {3};
  row.banned = banned;
  EXPECT_EQ(Sample(row, {4.0F, 5.0F, 1.0F, 3.8F}).token, 0);
}

TEST_F(SamplingTest, LogprobsAreOfTheModelsOwnDistribution) {
  SampleRow row{};
  row.temperature = 0;
  row.logprobs = 2;
  const TokenBias bias[] = {{0, 50.0F}};
  row.bias = bias;
  const auto result = Sample(row, {std::log(0.2F), std::log(0.3F), std::log(0.5F)});
  EXPECT_EQ(result.token, 0);
  EXPECT_NEAR(result.logprob, std::log(0.2), 1e-5);
  ASSERT_EQ(result.top.size(), 2U);
  EXPECT_EQ(result.top[0].token, 2);
  EXPECT_NEAR(result.top[1].logprob, std::log(0.3), 1e-5);
}

TEST_F(SamplingTest, HostileLogitsDoNotCrash) {
  const float inf = std::numeric_limits<float>::infinity();
  SampleRow row{};
  row.logprobs = 1;
  for (const std::vector<float>& logits :
       {std::vector<float>{NAN, NAN}, {-inf, -inf}, {inf, 0.0F}, {inf, inf}, {0.0F, -inf}}) {
    const Token token = Sample(row, logits).token;
    EXPECT_GE(token, 0);
    EXPECT_LT(token, 2);
  }
}

}  // namespace
}  // namespace causeway::kernels
