#include "kernels/quant/format.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <numbers>
#include <vector>

#include <gtest/gtest.h>

#include "base/rng.h"
#include "kernels/quant/float16.h"

namespace causeway::kernels {
namespace {

constexpr uint64_t kSeed = 20255;

TEST(FormatTest, RegistryIsIndexedByIdAndNamesAreDistinct) {
  for (const WeightFormat& format : WeightFormats()) {
    EXPECT_EQ(&FormatOf(format.id), &format);
    EXPECT_EQ(BytesOf(format.id, 4 * format.block_elements), 4 * format.block_bytes);
    EXPECT_LE(format.block_elements, kMaxBlockElements);
    EXPECT_EQ(FindFormat(format.dtype), &format);
    EXPECT_TRUE(format.block_elements == 1 || format.block_elements % format.codes.group == 0);
  }
}

// Root mean square error of encoding normal values, as a share of their deviation; what each format is allowed is a
// little above what its number of codes gives. Encoding must not only be right but good.
double RelativeError(const WeightFormat& format, uint64_t stream, float scale) {
  constexpr int64_t kCount = 16 * kMaxBlockElements;
  std::vector<float> values(kCount);
  for (size_t i = 0; i < values.size(); i += 2) {
    const double radius = std::sqrt(-2 * std::log(1 - RandomUniform(kSeed, stream, i)));
    const double angle = 2 * std::numbers::pi * RandomUniform(kSeed, stream, i + 1);
    values[i] = scale * static_cast<float>(radius * std::cos(angle));
    values[i + 1] = scale * static_cast<float>(radius * std::sin(angle));
  }
  std::vector<std::byte> bytes(static_cast<size_t>(BytesOf(format.id, kCount)) + 1, std::byte{0xA5});
  format.encode(values.data(), bytes.data(), kCount);
  EXPECT_EQ(bytes.back(), std::byte{0xA5}) << format.name << " writes behind its bytes";
  std::vector<float> decoded(kCount + 1, -7.0F);
  format.decode(bytes.data(), decoded.data(), kCount);
  EXPECT_EQ(decoded.back(), -7.0F) << format.name << " writes behind its values";
  double error = 0;
  double norm = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    error += std::pow(static_cast<double>(decoded[i]) - static_cast<double>(values[i]), 2);
    norm += std::pow(static_cast<double>(values[i]), 2);
  }
  return std::sqrt(error / norm);
}

TEST(FormatTest, EncodingIsAsGoodAsTheBitsAllow) {
  const std::map<std::string_view, double> allowed = {
      {"f32", 0},         {"f16", 3e-4},       {"bf16", 2.5e-3},         {"q8_0", 6e-3},          {"q4_0", 0.095},
      {"q4_1", 0.085},    {"q5_0", 0.047},     {"q5_1", 0.042},          {"q2_K", 0.33},          {"q3_K", 0.165},
      {"q4_K", 0.08},     {"q5_K", 0.04},      {"q6_K", 0.021},          {"iq4_nl", 0.085},       {"iq4_xs", 0.085},
      {"u8g128", 0.0064}, {"u8g64", 0.0056},   {"u8g32", 0.0049},        {"u4g128", 0.11},        {"u4g64", 0.096},
      {"u4g32", 0.083},   {"u3g128", 0.21},    {"u3g64", 0.19},          {"u3g32", 0.18},         {"u2g128", 0.4},
      {"u2g64", 0.38},    {"u2g32", 0.36},     {"llm_int8g128", 0.0072}, {"llm_int8g32", 0.0058}, {"e4m3g128", 0.028},
      {"e4m3g32", 0.026}, {"nf4g64", 0.1},     {"nf4g32", 0.093},        {"fp4g64", 0.13},        {"fp4g32", 0.12},
      {"mxfp4", 0.12},    {"nvfp4g128", 0.11}, {"nvfp4g32", 0.1},        {"spqr3", 0.155},        {"i8g128", 0.0072},
      {"i4g128", 0.13}};
  for (const WeightFormat& format : WeightFormats()) {
    ASSERT_TRUE(allowed.contains(format.name)) << format.name;
    for (const float scale : {1.0F, 0.02F, 30.0F}) {
      EXPECT_LE(RelativeError(format, 1, scale), allowed.at(format.name)) << format.name << " seed " << kSeed;
    }
  }
}

TEST(FormatTest, EdgesRoundTrip) {
  for (const WeightFormat& format : WeightFormats()) {
    std::vector<std::byte> bytes(static_cast<size_t>(format.block_bytes));
    std::vector<float> decoded(static_cast<size_t>(format.block_elements));
    for (const float value : {0.0F, 1.0F, -1.0F, 0.001F, -900.0F}) {
      const std::vector<float> values(decoded.size(), value);
      format.encode(values.data(), bytes.data(), format.block_elements);
      format.decode(bytes.data(), decoded.data(), format.block_elements);
      for (const float got : decoded) {
        ASSERT_NEAR(got, value, std::fabs(value) * (format.id == FormatId::kMXFP4 ? 0.15F : 0.07F)) << format.name;
      }
    }
  }
}

uint32_t BitsOf(float value) { return std::bit_cast<uint32_t>(value); }

// Blocks are independent: one of random bytes, perhaps with an endless scale, changes nothing but its own values.
TEST(FormatTest, HostileBlocksStayAlone) {
  for (const WeightFormat& format : WeightFormats()) {
    const auto bytes_each = static_cast<size_t>(format.block_bytes);
    const auto values_each = static_cast<size_t>(format.block_elements);
    std::vector<std::byte> bytes(3 * bytes_each);
    std::vector<float> before(3 * values_each);
    std::vector<float> after(before);
    for (uint64_t round = 0; round < 64; ++round) {
      for (size_t i = 0; i < bytes.size(); ++i) {
        bytes[i] = static_cast<std::byte>(RandomBits(kSeed, round, i) & 0x3f);
      }
      format.decode(bytes.data(), before.data(), 3 * format.block_elements);
      for (size_t i = bytes_each; i < 2 * bytes_each; ++i) {
        bytes[i] = round == 0 ? std::byte{0xff} : static_cast<std::byte>(RandomBits(kSeed, round + 64, i));
      }
      format.decode(bytes.data(), after.data(), 3 * format.block_elements);
      for (size_t i = 0; i < values_each; ++i) {
        ASSERT_EQ(BitsOf(before[i]), BitsOf(after[i])) << format.name;
        ASSERT_EQ(BitsOf(before[2 * values_each + i]), BitsOf(after[2 * values_each + i])) << format.name;
      }
    }
  }
}

// Scale and zero point of any halves: what the library's own conversions give.
TEST(FormatTest, Spqr3RoundsTwiceToHalf) {
  const auto rounded = [](float value) { return HalfToFloat(FloatToHalf(value)); };
  const WeightFormat& format = FormatOf(FormatId::kSPQR3);
  std::vector<std::byte> block(static_cast<size_t>(format.block_bytes));
  for (uint64_t round = 0; round < 20000; ++round) {
    for (size_t i = 0; i < block.size(); ++i) {
      block[i] = static_cast<std::byte>(RandomBits(kSeed, round, i));
    }
    uint16_t scale;
    uint16_t zero;
    uint64_t codes = 0;
    std::memcpy(&scale, block.data(), 2);
    std::memcpy(&zero, block.data() + 2, 2);
    std::memcpy(&codes, block.data() + 4, 6);
    float values[16];
    format.decode(block.data(), values, 16);
    for (int i = 0; i < 16; ++i) {
      const auto code = static_cast<float>((codes >> (3 * i)) & 7);
      const float expected = rounded(HalfToFloat(scale) * rounded(code - HalfToFloat(zero)));
      ASSERT_TRUE(BitsOf(values[i]) == BitsOf(expected) || (std::isnan(values[i]) && std::isnan(expected)))
          << values[i] << " for " << expected << " seed " << kSeed << " round " << round;
    }
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
