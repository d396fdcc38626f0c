// The table of states, their files' format, and the keys of tenants.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "server/api/access.h"
#include "server/api/state_calls.h"
#include "server/api/state_format.h"
#include "server/api/states.h"
#include "tests/unit/server/app_fixture.h"

namespace causeway::server {
namespace {

using std::chrono::seconds;

StateTable::Content MakeContent(std::vector<Token> tokens) {
  auto content = std::make_shared<StateContent>();
  content->tokens = std::move(tokens);
  content->cache_salt = "salt";
  return content;
}

StateTable::PutOptions Options(std::optional<Duration> ttl, bool overwrite = false) {
  StateTable::PutOptions options;
  options.ttl = ttl;
  options.overwrite = overwrite;
  return options;
}

TEST(StateTableTest, NamesAreATenantsOwn) {
  StateTable table(3, {});
  const Instant now = Clock::now();
  ASSERT_TRUE(table.Put(1, "x", MakeContent({1}), Options({}), now).ok());
  ASSERT_TRUE(table.Put(2, "x", MakeContent({1, 2}), Options({}), now).ok());
  EXPECT_EQ(table.Get(1, "x", now)->tokens, 1);
  EXPECT_EQ(table.Get(2, "x", now)->tokens, 2);
  EXPECT_EQ(table.Get(0, "x", now).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(table.List(1, now).size(), 1U);
  EXPECT_EQ(table.Put(1, "x", MakeContent({1}), Options({}), now).error().code, ErrorCode::kFailedPrecondition);
  ASSERT_TRUE(table.Put(1, "y", MakeContent({1}), Options({}), now).ok());
  EXPECT_EQ(table.Put(0, "z", MakeContent({1}), Options({}), now).error().code, ErrorCode::kResourceExhausted);
  EXPECT_TRUE(table.Put(1, "x", MakeContent({1}), Options({}, true), now).ok());  // takes no place of its own
  for (const char* const bad : {"", ".", ".x", "a/b", "a b", "\xc3\xa4"}) {
    EXPECT_EQ(table.CheckPut(0, bad, true, now).error().code, ErrorCode::kInvalidArgument) << bad;
  }
  EXPECT_TRUE(table.Erase(1, "y", now).ok());
  EXPECT_FALSE(table.Erase(1, "y", now).ok());
  EXPECT_EQ(table.size(), 2);
}

TEST(StateTableTest, EndsAreKept) {
  int wakes = 0;
  StateTable table(2, [&wakes] { ++wakes; });
  const Instant now = Clock::now();
  ASSERT_TRUE(table.Put(0, "x", MakeContent({1}), Options(seconds(10)), now).ok());
  EXPECT_EQ(wakes, 1);
  EXPECT_EQ(table.Expire(now), now + seconds(10));
  EXPECT_FALSE(table.Use(0, "x", now + seconds(10)).ok());  // gone, though nobody has swept
  EXPECT_TRUE(table.CheckPut(0, "x", false, now + seconds(10)).ok());
  StateTable::PutOptions extend = Options({}, true);
  extend.keep_end = true;
  ASSERT_TRUE(table.Put(0, "x", MakeContent({1, 2}), extend, now + seconds(5)).ok());
  EXPECT_EQ(table.Expire(now + seconds(5)), now + seconds(10));
  EXPECT_FALSE(table.SetTtl(0, "x", {}, now + seconds(6))->expires_unix.has_value());
  EXPECT_EQ(table.Expire(now + seconds(100)), kNever);
  ASSERT_TRUE(table.SetTtl(0, "x", seconds(1), now + seconds(100)).ok());
  EXPECT_EQ(table.Expire(now + seconds(101)), kNever);
  EXPECT_EQ(table.size(), 0);
}

TEST(StateTableTest, AnExtensionOfWhatWasChangedIsRefused) {
  StateTable table(2, {});
  const Instant now = Clock::now();
  ASSERT_TRUE(table.Put(0, "x", MakeContent({1}), Options({}), now).ok());
  StateTable::PutOptions extend = Options({}, true);
  extend.expected = *table.Use(0, "x", now);
  EXPECT_EQ(table.Get(0, "x", now)->uses, 1U);
  ASSERT_TRUE(table.Put(0, "x", MakeContent({1, 2}), extend, now).ok());
  EXPECT_EQ(table.Put(0, "x", MakeContent({1, 3}), extend, now).error().code, ErrorCode::kFailedPrecondition);
  ASSERT_TRUE(table.Erase(0, "x", now).ok());
  EXPECT_EQ(table.Put(0, "x", MakeContent({1, 3}), extend, now).error().code, ErrorCode::kFailedPrecondition);
}

// ---- Files

class StateFormatTest : public testing::Test {
 protected:
  StateFormatTest() : image_(MakeStateImage(*content_, identity_)) {}

  Result<StateHeader> Parse(std::span<const std::byte> head) const {
    TRY(CheckPrologue(head, image_.layout.file_bytes));
    return ParseStateHeader(head, image_.layout.file_bytes);
  }

  const KvIdentity identity_{"model", "layout", "build", {}, 64, 4096};
  const StateTable::Content content_ = MakeContent({1, 2, 3});
  const StateImage image_;
};

TEST_F(StateFormatTest, WhatIsWrittenIsRead) {
  const auto header = Parse(image_.head);
  ASSERT_TRUE(header.ok()) << header.error().message;
  EXPECT_EQ(header->layout.tokens, 3);
  EXPECT_EQ(header->layout.EndOffset(), image_.layout.file_bytes);
  EXPECT_TRUE(CheckIdentity(*header, identity_, "salt").ok());
  EXPECT_EQ(CheckIdentity(*header, identity_, "").error().param, "cache_salt");
  const std::pair<std::string KvIdentity::*, const char*> kParts[] = {{&KvIdentity::model, "another model"},
                                                                      {&KvIdentity::layout, "another layout"},
                                                                      {&KvIdentity::build, "another build"}};
  for (const auto& [part, words] : kParts) {
    KvIdentity other = identity_;
    other.*part = "other";
    const auto refused = CheckIdentity(*header, other, "salt");
    ASSERT_FALSE(refused.ok());
    EXPECT_NE(refused.error().message.find(words), std::string::npos) << refused.error().message;
  }
  KvIdentity other = identity_;
  other.fingerprint[7] = std::byte{1};
  EXPECT_FALSE(CheckIdentity(*header, other, "salt").ok());
}

TEST_F(StateFormatTest, TheAdapterIsKept) {
  EXPECT_TRUE(Parse(image_.head)->adapter.name.empty());
  StateContent content = *content_;
  content.adapter = {"lora", Digest{std::byte{7}}};
  const StateImage image = MakeStateImage(content, identity_);
  const auto header = ParseStateHeader(image.head, image.layout.file_bytes);
  ASSERT_TRUE(header.ok()) << header.error().message;
  EXPECT_EQ(header->adapter.name, "lora");
  EXPECT_EQ(header->adapter.digest, content.adapter.digest);
}

TEST_F(StateFormatTest, EveryChangedByteOfTheHeadIsSeen) {
  StateHasher hasher;
  const Digest root = hasher.OfRest(image_.head, content_->tokens, {});
  for (size_t i = 0; i < image_.head.size(); ++i) {
    for (const unsigned bit : {1U, 0x80U}) {
      std::vector<std::byte> head = image_.head;
      head[i] ^= static_cast<std::byte>(bit);
      (void)Parse(head);  // whatever it says, it neither crashes nor allocates what a count claims
      EXPECT_NE(hasher.OfRest(head, content_->tokens, {}), root);
    }
  }
  for (size_t size = 0; size < image_.head.size(); ++size) {
    const auto cut = std::span(image_.head).first(size);
    EXPECT_FALSE(size >= kStatePrologueBytes && ParseStateHeader(cut, image_.layout.file_bytes).ok());
  }
}

// ---- Calls

TEST_F(AppTest, StateCallsAreReadWithTheirLimits) {
  const auto decode = [&](StateCall::Kind kind, const char* body) { return DecodeStateCall(app(), kind, body); };
  const auto made = decode(StateCall::Kind::kCreate, R"({"name":"a","prompt":[1,2],"ttl":1.5,"overwrite":true})");
  ASSERT_TRUE(made.ok()) << made.error().message;
  EXPECT_EQ(made->ttl, std::chrono::milliseconds(1500));
  EXPECT_TRUE(made->overwrite);
  EXPECT_TRUE(decode(StateCall::Kind::kPin, "").ok());
  for (const char* const bad : {"[]", "{", R"({"ttl":0})", R"({"ttl":1e10})", R"({"ttl":"1"})", R"({"name":1})",
                                R"({"name":"a","prompt":{}})", R"({"name":"a","prompt":["a","b"]})", R"({"name":"a"})",
                                R"({"name":"a","prompt":"x","messages":[{"role":"user","content":"y"}]})"}) {
    const auto call = decode(StateCall::Kind::kCreate, bad);
    ASSERT_FALSE(call.ok()) << bad;
    EXPECT_EQ(call.error().code, ErrorCode::kInvalidArgument) << bad;
  }
}

TEST(AccessTest, KeysHaveTenants) {
  const std::vector<ApiKey> keys = {{"one", 0}, {"two", 1}};
  EXPECT_EQ(TenantOf(keys, "one"), 0);
  EXPECT_EQ(TenantOf(keys, "two"), 1);
  EXPECT_EQ(TenantOf(keys, "tw"), std::nullopt);
  EXPECT_EQ(TenantOf(keys, ""), std::nullopt);
}

}  // namespace
}  // namespace causeway::server
