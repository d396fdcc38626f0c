#include "kernels/quant/format.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include <gtest/gtest.h>

#include "kernels/quant/float16.h"

namespace causeway::kernels {
namespace {

TEST(FormatTest, RegistryIsIndexedByIdAndNamesAreDistinct) {
  for (const WeightFormat& format : WeightFormats()) {
    EXPECT_EQ(&FormatOf(format.id), &format);
    EXPECT_EQ(BytesOf(format.id, 4 * format.block_elements), 4 * format.block_bytes);
  }
}

TEST(FormatTest, EveryHalfRoundTrips) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = HalfToFloat(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(HalfToFloat(FloatToHalf(value))));
    } else {
      ASSERT_EQ(FloatToHalf(value), half);
    }
    const float wide = BFloatToFloat(half);
    if (!std::isnan(wide)) {
      ASSERT_EQ(FloatToBFloat(wide), half);
    }
  }
}

TEST(FormatTest, RoundsToNearestEven) {
  EXPECT_EQ(FloatToHalf(1.0F + 0x1p-11F), FloatToHalf(1.0F));          // a tie, down to even
  EXPECT_EQ(FloatToHalf(1.0F + 3 * 0x1p-11F), FloatToHalf(1.0F) + 2);  // a tie, up to even
  EXPECT_EQ(FloatToHalf(65519.9F), 0x7bff);
  EXPECT_EQ(FloatToHalf(65520.0F), 0x7c00);
  EXPECT_EQ(FloatToHalf(0x1p-25F), 0);  // a tie with zero
  EXPECT_EQ(FloatToHalf(0x1.8p-25F), 1);
  EXPECT_EQ(FloatToBFloat(1.0F + 0x1p-8F), FloatToBFloat(1.0F));
  EXPECT_EQ(FloatToBFloat(1.0F + 3 * 0x1p-8F), FloatToBFloat(1.0F) + 2);
  EXPECT_EQ(FloatToBFloat(std::numeric_limits<float>::max()), 0x7f80);
}

}  // namespace
}  // namespace causeway::kernels
