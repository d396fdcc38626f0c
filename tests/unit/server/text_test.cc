// Stop strings in streams, and the targets of request lines.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/rng.h"
#include "server/api/stop_matcher.h"
#include "server/http/target.h"

namespace causeway::server {
namespace {

struct Stopped {
  std::string text;
  std::optional<std::string> stop;
};

Stopped Stream(const std::vector<std::string>& stops, const std::vector<std::string>& pieces, bool include = false) {
  StopMatcher matcher(stops, include);
  Stopped result;
  for (const std::string& piece : pieces) {
    result.text += matcher.Append(piece);
  }
  result.text += matcher.Flush();
  result.stop = matcher.matched();
  return result;
}

// The specification: the stop that begins first, the longest of those.
Stopped Whole(const std::vector<std::string>& stops, const std::string& text) {
  Stopped result{text, std::nullopt};
  size_t first = std::string::npos;
  for (const std::string& stop : stops) {
    const size_t at = text.find(stop);
    if (at != std::string::npos && (at < first || (at == first && stop.size() > result.stop->size()))) {
      first = at;
      result.stop = stop;
    }
  }
  if (result.stop) {
    result.text = text.substr(0, first);
  }
  return result;
}

TEST(StopMatcherTest, AStopAcrossPiecesNeverShows) {
  StopMatcher matcher({"END"}, false);
  EXPECT_EQ(matcher.Append("aE"), "a");
  EXPECT_EQ(matcher.Append("N"), "");
  EXPECT_EQ(matcher.Append("Db"), "");
  EXPECT_EQ(matcher.matched(), "END");
  EXPECT_EQ(matcher.Append("more"), "");
  EXPECT_EQ(matcher.Flush(), "");
}

TEST(StopMatcherTest, WhatWasHeldBackIsReleased) {
  StopMatcher matcher({"END"}, false);
  EXPECT_EQ(matcher.Append("EN"), "");
  EXPECT_EQ(matcher.Append("EN"), "EN");
  EXPECT_EQ(matcher.Flush(), "EN");
}

TEST(StopMatcherTest, MayKeepTheStop) { EXPECT_EQ(Stream({"END"}, {"aE", "NDb"}, true).text, "aEND"); }

TEST(StopMatcherTest, TheEarliestOfSeveralWinsAndThenTheLongest) {
  EXPECT_EQ(Stream({"cd", "bc"}, {"abcd"}).text, "a");
  EXPECT_EQ(Stream({"b", "bc"}, {"abcd"}).stop, "bc");
  EXPECT_EQ(Stream({"aab"}, {"a", "a", "a", "b"}).text, "a");
}

TEST(StopMatcherTest, HoldsBackLessThanTheLongestStop) {
  StopMatcher matcher({"aaaa"}, false);
  size_t in = 0;
  size_t out = 0;
  for (int i = 0; i < 3; ++i) {
    out += matcher.Append("xa").size();
    in += 2;
    EXPECT_LT(in - out, 4U);
  }
}

// Whatever the pieces: what was let out before the match is a prefix of what the whole text gives. Single-byte pieces
// find the stop that ends first, so equality is asked where no stop begins inside another.
TEST(StopMatcherTest, PiecesDoNotMatter) {
  constexpr uint64_t kSeed = 20240;
  SCOPED_TRACE(kSeed);
  for (uint64_t round = 0; round < 2000; ++round) {
    uint64_t draw = 0;
    const auto next = [&](uint64_t below) { return RandomBits(kSeed, round, draw++) % below; };
    const auto word = [&](uint64_t longest) {
      std::string text;
      for (uint64_t i = 0, size = 1 + next(longest); i < size; ++i) {
        text += static_cast<char>('a' + next(2));
      }
      return text;
    };
    const std::vector<std::string> stops = {word(4)};
    std::vector<std::string> pieces;
    std::string text;
    for (uint64_t i = 0, count = 1 + next(6); i < count; ++i) {
      pieces.push_back(word(3));
      text += pieces.back();
    }
    const Stopped streamed = Stream(stops, pieces);
    const Stopped whole = Whole(stops, text);
    ASSERT_EQ(streamed.text, whole.text) << "round " << round << ", stop " << stops[0] << ", text " << text;
    ASSERT_EQ(streamed.stop, whole.stop);
  }
}

TEST(TargetTest, PathsAreDecodedAndBare) {
  EXPECT_EQ(PathOf("/health"), "/health");
  EXPECT_EQ(PathOf("/health?x=1&y=%zz"), "/health");
  EXPECT_EQ(PathOf("/v1/models/org%2Fname"), "/v1/models/org/name");
  EXPECT_EQ(PathOf("http://host:8000/v1/models?x"), "/v1/models");
  EXPECT_EQ(PathOf("http://host"), "/");
  EXPECT_EQ(PathOf("*"), "*");
  EXPECT_EQ(QueryOf("/sleep?level=2#x"), "level=2");
  EXPECT_EQ(QueryOf("/sleep#?level=2"), "");
  EXPECT_EQ(QueryValue("a=1&level=%32&b", "level"), "2");
  EXPECT_EQ(QueryValue("a=1&b", "b"), "");
  EXPECT_EQ(QueryValue("a=1", "level"), std::nullopt);
  EXPECT_EQ(QueryValue("level=%z", "level"), std::nullopt);
  for (const char* const bad : {"", "health", "/%", "/%2", "/%zz", "/%00", "/a%0Ab", "ftp://x/y"}) {
    EXPECT_FALSE(PathOf(bad).has_value()) << bad;
  }
}

}  // namespace
}  // namespace causeway::server
