#include "server/config/config_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace causeway::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(ConfigFileTest, ReadsValuesListsAndComments) {
  const ConfigFile file = ParseConfigFile(
      "# comment\n"
      "\n"
      "port = 8080   # the usual one\r\n"
      "model=\"a b # c\"\n"
      "max_num_seqs = 3\n"
      "served-model-name = [ \"one\", 'two' , three ]\n"
      "api-key = ['x\\\"y']");
  EXPECT_TRUE(file.errors.empty());
  ASSERT_EQ(file.settings.size(), 5);
  EXPECT_EQ(file.settings[0].name, "port");
  EXPECT_THAT(file.settings[0].texts, ElementsAre("8080"));
  EXPECT_EQ(file.settings[0].line, 3);
  EXPECT_THAT(file.settings[1].texts, ElementsAre("a b # c"));
  EXPECT_EQ(file.settings[2].name, "max-num-seqs");
  EXPECT_THAT(file.settings[3].texts, ElementsAre("one", "two", "three"));
  EXPECT_THAT(file.settings[4].texts, ElementsAre("x\\\"y"));
}

TEST(ConfigFileTest, ReportsEachBadLineAndReadsTheRest) {
  const ConfigFile file = ParseConfigFile(
      "[server]\n"
      "port\n"
      "model = a b\n"
      "host = \"open\n"
      "threads =\n"
      "api-key = [\"a\" \"b\"]\n"
      "api-key = [\"a\"\n"
      "model = \"a\\n\"\n"
      "grpc = true\n");
  ASSERT_EQ(file.settings.size(), 1);
  EXPECT_EQ(file.settings[0].name, "grpc");
  ASSERT_EQ(file.errors.size(), 8);
  EXPECT_THAT(file.errors[0], HasSubstr("line 1: sections"));
  EXPECT_THAT(file.errors[2], HasSubstr("quotes"));
  EXPECT_THAT(file.errors[5], HasSubstr("comma"));
}

TEST(ConfigFileTest, BoundsTheNumberOfLines) {
  const ConfigFile file = ParseConfigFile(std::string(20000, '\n'));
  EXPECT_EQ(file.errors.size(), 1);
}

TEST(ConfigFileTest, WritesWhatItReads) {
  const std::vector<std::vector<std::string>> cases = {{"8000"}, {"a b"}, {"it's"}, {"say \"hi\""}, {"back\\slash"},
                                                       {"[x]"},  {"a,b"}, {"#1"},   {"1.5GiB"},     {"=x"}};
  for (const auto& texts : cases) {
    const Result<std::string> line = FormatSetting("name", texts, false);
    ASSERT_TRUE(line.ok());
    const ConfigFile file = ParseConfigFile(*line);
    ASSERT_TRUE(file.errors.empty()) << *line;
    EXPECT_EQ(file.settings.at(0).texts, texts) << *line;
  }
  EXPECT_EQ(FormatSetting("name", {"a", "b c"}, true).value(), "name = [\"a\", \"b c\"]");
  EXPECT_FALSE(FormatSetting("name", {"'\""}, false).ok());
}

TEST(ConfigFileTest, RefusesFilesThatAreMissingOrTooLarge) {
  EXPECT_EQ(ReadTextFile("no/such/file", 10).error().code, ErrorCode::kNotFound);
  EXPECT_FALSE(ReadTextFile("tests", 10).ok());
  EXPECT_FALSE(ReadTextFile("LICENSE", 10).ok());
  EXPECT_TRUE(ReadTextFile("LICENSE", 1 << 20).ok());
}

}  // namespace
}  // namespace causeway::server
