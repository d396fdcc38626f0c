#include "server/cli/bench_serve/stats.h"

#include <cmath>

#include <gtest/gtest.h>

namespace causeway::server::bench {
namespace {

RequestRecord Answered(double start, double first, double last, double end, int64_t tokens) {
  RequestRecord record;
  record.start = start;
  record.first_text = first;
  record.last_text = last;
  record.end = end;
  record.prompt_tokens = 10;
  record.output_tokens = tokens;
  return record;
}

TEST(QuantileTest, IsLinearBetweenNeighbours) {
  EXPECT_DOUBLE_EQ(Quantile({1, 2, 3, 4}, 0.5), 2.5);
  EXPECT_DOUBLE_EQ(Quantile({1, 2, 3, 4}, 0.0), 1);
  EXPECT_DOUBLE_EQ(Quantile({1, 2, 3, 4}, 1.0), 4);
  EXPECT_DOUBLE_EQ(Quantile({0, 10}, 0.9), 9);
  EXPECT_DOUBLE_EQ(Quantile({7}, 0.99), 7);
  EXPECT_DOUBLE_EQ(Quantile({}, 0.5), 0);
}

TEST(StatsTest, FiguresOfTwoRequests) {
  // 11 tokens from 1.0 to 2.0: 0.1 s a token; 1 token: no TPOT.
  const RunStats stats = ComputeStats({Answered(0.0, 1.0, 2.0, 2.5, 11), Answered(1.0, 1.5, 1.5, 5.0, 1)}, {});
  EXPECT_EQ(stats.answered, 2U);
  EXPECT_DOUBLE_EQ(stats.duration, 5.0);
  EXPECT_DOUBLE_EQ(stats.requests_per_s, 0.4);
  EXPECT_DOUBLE_EQ(stats.output_tokens_per_s, 12 / 5.0);
  EXPECT_DOUBLE_EQ(stats.total_tokens_per_s, 32 / 5.0);
  ASSERT_EQ(stats.tpot.size(), 1U);
  EXPECT_DOUBLE_EQ(stats.tpot[0], 0.1);
  EXPECT_EQ(stats.ttft, (std::vector<double>{0.5, 1.0}));
  EXPECT_EQ(stats.e2e, (std::vector<double>{2.5, 4.0}));
  EXPECT_EQ(stats.peak_concurrency, 2U);
  EXPECT_DOUBLE_EQ(stats.goodput, stats.requests_per_s);
}

TEST(StatsTest, GoodputCountsWhatKeepsEveryBound) {
  const auto slo = ParseSlo("ttft:600,tpot:150,e2e:3000");
  ASSERT_TRUE(slo.ok());
  const RunStats stats = ComputeStats(
      {
          Answered(0, 0.5, 1.5, 2.0, 11),  // keeps all
          Answered(0, 0.7, 1.7, 2.0, 11),  // TTFT
          Answered(0, 0.5, 2.5, 2.6, 11),  // TPOT 0.2
          Answered(0, 0.5, 1.5, 4.0, 11),  // E2E
      },
      *slo);
  EXPECT_EQ(stats.within_slo, 1U);
  EXPECT_DOUBLE_EQ(stats.goodput, 0.25);
}

TEST(StatsTest, ErrorsAreCountedByKindAndLeaveLatenciesAlone) {
  RequestRecord failed = Answered(0, 0, 0, 9, 0);
  failed.error_kind = "http_429";
  failed.error_message = "full";
  const RunStats stats = ComputeStats({failed, failed, Answered(0, 1, 2, 3, 4)}, {});
  EXPECT_EQ(stats.answered, 1U);
  EXPECT_EQ(stats.errors.at("http_429"), 2U);
  EXPECT_EQ(stats.first_error, "full");
  EXPECT_EQ(stats.e2e.size(), 1U);
}

TEST(StatsTest, NothingIsNotANumber) {
  const RunStats stats = ComputeStats({}, {});
  EXPECT_EQ(stats.requests_per_s, 0);
  EXPECT_EQ(Summarize(stats.ttft).mean, 0);
}

TEST(ParseSloTest, NamesTheKnownBounds) {
  EXPECT_FALSE(ParseSlo("")->given);
  EXPECT_TRUE(std::isinf(ParseSlo("ttft:5")->e2e));
  const auto unknown = ParseSlo("ttfb:5");
  ASSERT_FALSE(unknown.ok());
  EXPECT_NE(unknown.error().message.find("ttft, tpot, e2e"), std::string::npos);
  for (const char* text : {"ttft", "ttft:", "ttft:-1", "ttft:nan", "ttft:5s", "ttft:0"}) {
    EXPECT_FALSE(ParseSlo(text).ok()) << text;
  }
}

}  // namespace
}  // namespace causeway::server::bench
