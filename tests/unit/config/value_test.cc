#include "server/config/value.h"

#include <gtest/gtest.h>

namespace causeway::server {
namespace {

TEST(ValueTest, ReadsSizes) {
  EXPECT_EQ(ParseBytes("1048576").value(), 1 << 20);
  EXPECT_EQ(ParseBytes("16MiB").value(), 16 << 20);
  EXPECT_EQ(ParseBytes("16 mib").value(), 16 << 20);
  EXPECT_EQ(ParseBytes("4G").value(), 4LL << 30);
  EXPECT_EQ(ParseBytes("1.5GiB").value(), 3LL << 29);
  EXPECT_EQ(ParseBytes("1.5GB").value(), 1500000000);
  EXPECT_EQ(ParseBytes("7B").value(), 7);
  for (const char* wrong : {"", "G", "-1", "1.3", "1e400", "1e4", "4GiBs", "0x10", "9999999999TiB", "inf", "nan"}) {
    EXPECT_FALSE(ParseBytes(wrong).ok()) << wrong;
  }
}

TEST(ValueTest, PrintsSizesInTheLargestUnitThatIsExact) {
  EXPECT_EQ(FormatBytes(16 << 20), "16MiB");
  EXPECT_EQ(FormatBytes(1025), "1025");
  EXPECT_EQ(FormatBytes(0), "0");
  for (const int64_t bytes : {int64_t{1}, int64_t{1} << 10, int64_t{3} << 29, int64_t{5} << 40}) {
    EXPECT_EQ(ParseBytes(FormatBytes(bytes)).value(), bytes);
  }
}

TEST(ValueTest, ReadsTimes) {
  EXPECT_EQ(ParseDuration("30").value(), std::chrono::seconds(30));
  EXPECT_EQ(ParseDuration("500ms").value(), std::chrono::milliseconds(500));
  EXPECT_EQ(ParseDuration("1.5s").value(), std::chrono::milliseconds(1500));
  EXPECT_EQ(ParseDuration("2m").value(), std::chrono::minutes(2));
  EXPECT_EQ(ParseDuration("1h").value(), std::chrono::hours(1));
  for (const char* wrong : {"", "s", "-1s", "1y", "99999999999d", "nan"}) {
    EXPECT_FALSE(ParseDuration(wrong).ok()) << wrong;
  }
}

TEST(ValueTest, PrintsTimes) {
  EXPECT_EQ(FormatDuration(std::chrono::seconds(75)), "75s");
  EXPECT_EQ(FormatDuration(std::chrono::seconds(120)), "2m");
  EXPECT_EQ(FormatDuration(std::chrono::milliseconds(1500)), "1500ms");
  EXPECT_EQ(FormatDuration(Duration(0)), "0s");
}

Result<void> Set(std::string_view name, std::vector<std::string> texts) {
  Options options = DefaultOptions();
  return SetOption(*FindOption(name), texts, options);
}

TEST(ValueTest, ChecksBoundsAndTypes) {
  EXPECT_TRUE(Set("port", {"65535"}).ok());
  EXPECT_EQ(Set("port", {"65536"}).error().message, "must be at least 0 and at most 65535");
  EXPECT_FALSE(Set("port", {"-1"}).ok());
  EXPECT_FALSE(Set("port", {"80a"}).ok());
  EXPECT_FALSE(Set("port", {""}).ok());
  EXPECT_FALSE(Set("port", {"1", "2"}).ok());
  EXPECT_FALSE(Set("port", {"99999999999999999999"}).ok());
  EXPECT_FALSE(Set("top-p", {"0"}).ok()) << "the bound itself is out of range";
  EXPECT_TRUE(Set("top-p", {"1"}).ok());
  EXPECT_FALSE(Set("temperature", {"nan"}).ok());
  EXPECT_FALSE(Set("kv-cache-memory", {"1KiB"}).ok());
  EXPECT_EQ(Set("kv-cache-dtype", {"f8"}).error().message, "must be one of auto|f32|f16|bf16");
  EXPECT_FALSE(Set("enable-prefix-caching", {"maybe"}).ok());
  EXPECT_TRUE(Set("enable-prefix-caching", {"ON"}).ok());
  EXPECT_FALSE(Set("model", {"a\nb"}).ok());
  EXPECT_FALSE(Set("api-key", {""}).ok());
}

}  // namespace
}  // namespace causeway::server
