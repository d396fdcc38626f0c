#include "server/cli/bench_serve/sse.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace causeway::server::bench {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> Parse(std::string_view text, size_t piece) {
  SseParser parser;
  std::vector<std::string> events;
  for (size_t at = 0; at < text.size(); at += piece) {
    EXPECT_TRUE(parser.Feed(text.substr(at, piece), events).ok());
  }
  return events;
}

TEST(SseParserTest, EveryLineEndAndEveryCutGivesTheSameEvents) {
  const std::string lf = "data: {\"a\":1}\n\n: comment\n\ndata:two\nevent: x\ndata: lines\n\ndata: [DONE]\n\n";
  for (const std::string& end : {std::string("\n"), std::string("\r\n"), std::string("\r")}) {
    std::string text;
    for (const char c : lf) {
      text += c == '\n' ? end : std::string(1, c);
    }
    for (size_t piece = 1; piece <= text.size(); ++piece) {
      ASSERT_THAT(Parse(text, piece), ElementsAre("{\"a\":1}", "two\nlines", "[DONE]")) << piece;
    }
  }
}

TEST(SseParserTest, AnUnfinishedEventIsNotHandedOut) {
  EXPECT_THAT(Parse("data: half", 3), IsEmpty());
  EXPECT_THAT(Parse("data: half\n", 3), IsEmpty());
}

TEST(SseParserTest, EmptyDataIsAnEvent) { EXPECT_THAT(Parse("data:\n\n", 1), ElementsAre("")); }

TEST(SseParserTest, AnEndlessEventFails) {
  SseParser parser;
  std::vector<std::string> events;
  const std::string piece(1 << 20, 'x');
  Result<void> result;
  for (int i = 0; i < 16 && result.ok(); ++i) {
    result = parser.Feed(piece, events);
  }
  EXPECT_FALSE(result.ok());
}

TEST(ParseChunkTest, TextOfEveryKind) {
  EXPECT_EQ(ParseChunk(R"({"choices":[{"text":"a"},{"text":"b"}]})")->text, "ab");
  EXPECT_EQ(ParseChunk(R"({"choices":[{"delta":{"role":"assistant","content":"hi"}}]})")->text, "hi");
  EXPECT_EQ(ParseChunk(R"({"choices":[{"delta":{"reasoning_content":"hm"}}]})")->text, "hm");
  EXPECT_EQ(ParseChunk(R"({"choices":[{"delta":{"content":null}}]})")->text, "");
}

TEST(ParseChunkTest, UsageDoneAndErrors) {
  const auto usage = ParseChunk(
      R"({"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":3}}})");
  ASSERT_TRUE(usage.ok());
  EXPECT_TRUE(usage->has_usage);
  EXPECT_EQ(usage->prompt_tokens, 5);
  EXPECT_EQ(usage->output_tokens, 7);
  EXPECT_EQ(usage->cached_tokens, 3);
  EXPECT_TRUE(ParseChunk("[DONE]")->done);
  EXPECT_EQ(ParseChunk(R"({"error":{"message":"full","code":429}})")->error, "\"full\"");
  EXPECT_TRUE(ParseChunk(R"({"error":null,"choices":[],"usage":null})")->error.empty());
}

TEST(ParseChunkTest, RefusesWhatIsNoChunk) {
  for (const char* data : {"", "{", "[]", "3", "null", "{\"choices\":"}) {
    EXPECT_FALSE(ParseChunk(data).ok()) << data;
  }
  for (const char* data :
       {R"({"choices":3})", R"({"choices":[null,4]})", R"({"usage":7})", R"({"choices":[{"delta":1}]})"}) {
    EXPECT_TRUE(ParseChunk(data).ok()) << data;
  }
}

}  // namespace
}  // namespace causeway::server::bench
