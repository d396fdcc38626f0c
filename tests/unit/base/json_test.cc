#include "base/json.h"

#include <string>

#include <gtest/gtest.h>

namespace causeway {
namespace {

TEST(JsonTest, ParsesADocument) {
  const auto json = ParseJson(R"({"a":[1,2.5,"x",null,true]})");
  ASSERT_TRUE(json.ok());
  EXPECT_EQ((*json)["a"][2], "x");
}

TEST(JsonTest, OrderedKeepsDocumentOrder) {
  const auto json = ParseOrderedJson(R"({"b":1,"a":2})");
  ASSERT_TRUE(json.ok());
  EXPECT_EQ(DumpJson(*json), R"({"b":1,"a":2})");
}

TEST(JsonTest, MalformedTextNamesTheByte) {
  const auto json = ParseJson("{\"a\":}");
  ASSERT_FALSE(json.ok());
  EXPECT_NE(json.error().message.find("byte 6"), std::string::npos) << json.error().message;
}

TEST(JsonTest, RefusesNumbersBeyondADouble) {
  EXPECT_FALSE(ParseJson("1e400").ok());
  EXPECT_FALSE(ParseJson("NaN").ok());
}

TEST(JsonTest, RefusesDeepNestingWithoutRecursion) {
  EXPECT_FALSE(ParseJson(std::string(1000000, '[')).ok());
  EXPECT_TRUE(ParseJson(std::string(64, '[') + std::string(64, ']')).ok());
  EXPECT_FALSE(ParseJson(std::string(65, '[') + std::string(65, ']')).ok());
}

// An object of n keys costs n^2 / 2 comparisons where order is kept; a body of 16 MiB would take minutes.
TEST(JsonTest, RefusesOrderedObjectsWithTooManyKeys) {
  const auto object = [](int keys) {
    std::string text = "{";
    for (int i = 0; i < keys; ++i) {
      text += (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\":1";
    }
    return text + "}";
  };
  EXPECT_TRUE(ParseOrderedJson(object(2000)).ok());
  EXPECT_FALSE(ParseOrderedJson(object(200000)).ok());
  EXPECT_TRUE(ParseJson(object(200000)).ok());
}

TEST(JsonTest, RefusesTooManyNodes) {
  EXPECT_FALSE(ParseJson("[1,2,3]", {.max_depth = 4, .max_nodes = 3}).ok());
  EXPECT_TRUE(ParseJson("[1,2,3]", {.max_depth = 4, .max_nodes = 4}).ok());
}

TEST(JsonTest, BoundsTheWorkOfOrderedObjects) {
  const auto object = [](int keys) {
    std::string text = "{";
    for (int i = 0; i < keys; ++i) {
      text += (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\":0";
    }
    return text + "}";
  };
  EXPECT_TRUE(ParseOrderedJson(object(15000)).ok());
  const auto many = ParseOrderedJson(object(300000));
  ASSERT_FALSE(many.ok());
  EXPECT_NE(many.error().message.find("too many keys"), std::string::npos) << many.error().message;
  EXPECT_TRUE(ParseJson(object(300000)).ok()) << "sorted objects do not search";
}

TEST(JsonTest, UniqueKeysIsAChoice) {
  const char* const text = R"({"a":{"b":1,"c":2},"b":[{"b":1},{"b":2}],"a":3})";
  EXPECT_TRUE(ParseJson(text).ok());
  const auto unique = ParseJson(text, {.unique_keys = true});
  ASSERT_FALSE(unique.ok());
  EXPECT_NE(unique.error().message.find("'a' stands twice"), std::string::npos) << unique.error().message;
  EXPECT_TRUE(ParseJson(R"({"a":{"b":1},"b":[{"b":1},{"b":2}]})", {.unique_keys = true}).ok());
}

TEST(JsonTest, RefusesInvalidUtf8) { EXPECT_FALSE(ParseJson("\"\xff\"").ok()); }

TEST(JsonTest, DumpReplacesInvalidUtf8) { EXPECT_EQ(DumpJson(Json(std::string("a\xff"))), "\"a\xEF\xBF\xBD\""); }

}  // namespace
}  // namespace causeway
