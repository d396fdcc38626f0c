#include "base/rng.h"

#include <gtest/gtest.h>

namespace causeway {
namespace {

TEST(RngTest, IsAPureFunctionOfItsArguments) {
  EXPECT_EQ(RandomBits(1, 2, 3), RandomBits(1, 2, 3));
  EXPECT_NE(RandomBits(1, 2, 3), RandomBits(1, 2, 4));
  EXPECT_NE(RandomBits(1, 2, 3), RandomBits(1, 3, 2));
  EXPECT_NE(RandomBits(1, 2, 3), RandomBits(2, 2, 3));
}

TEST(RngTest, UniformHasTheRightMeanAndSpread) {
  constexpr int kDraws = 100000;
  double sum = 0;
  double squares = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double x = RandomUniform(42, 0, static_cast<uint64_t>(i));
    ASSERT_GE(x, 0.0);
    ASSERT_LT(x, 1.0);
    sum += x;
    squares += x * x;
  }
  // Five standard errors of the mean (0.289 / sqrt n) and of the second moment (0.298 / sqrt n).
  EXPECT_NEAR(sum / kDraws, 0.5, 0.005);
  EXPECT_NEAR(squares / kDraws, 1.0 / 3.0, 0.005);
}

}  // namespace
}  // namespace causeway
