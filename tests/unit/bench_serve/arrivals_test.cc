#include "server/cli/bench_serve/arrivals.h"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

namespace causeway::server::bench {
namespace {

TEST(ArrivalsTest, FixedGapsAreOneOverTheRate) {
  Arrivals arrivals(ArrivalKind::kFixed, 4.0, 1);
  for (int i = 0; i < 10; ++i) {
    EXPECT_DOUBLE_EQ(arrivals.Next(), 0.25 * i);
  }
}

TEST(ArrivalsTest, InfiniteRateArrivesAtOnce) {
  Arrivals arrivals(ArrivalKind::kPoisson, std::numeric_limits<double>::infinity(), 1);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(arrivals.Next(), 0.0);
  }
}

TEST(ArrivalsTest, PoissonGapsHaveTheMeanAndSpreadOfAnExponential) {
  constexpr double kRate = 5.0;
  constexpr int kCount = 20000;
  Arrivals arrivals(ArrivalKind::kPoisson, kRate, 7);
  double last = arrivals.Next();
  double sum = 0;
  double squares = 0;
  for (int i = 0; i < kCount; ++i) {
    const double now = arrivals.Next();
    ASSERT_GE(now, last);
    sum += now - last;
    squares += (now - last) * (now - last);
    last = now;
  }
  const double mean = sum / kCount;
  const double deviation = std::sqrt(squares / kCount - mean * mean);
  // Four standard errors of 20000 samples.
  EXPECT_NEAR(mean, 1 / kRate, 4 / kRate / std::sqrt(kCount));
  EXPECT_NEAR(deviation, 1 / kRate, 0.05 / kRate);
}

TEST(ArrivalsTest, SameSeedSameSchedule) {
  Arrivals a(ArrivalKind::kPoisson, 3.0, 42);
  Arrivals b(ArrivalKind::kPoisson, 3.0, 42);
  Arrivals other(ArrivalKind::kPoisson, 3.0, 43);
  bool differs = false;
  for (int i = 0; i < 100; ++i) {
    const double time = a.Next();
    EXPECT_EQ(time, b.Next());
    differs = differs || time != other.Next();
  }
  EXPECT_TRUE(differs);
}

}  // namespace
}  // namespace causeway::server::bench
