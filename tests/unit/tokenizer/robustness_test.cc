// Hostile files and texts: one clear error, bounded work.
#include <chrono>

#include <gtest/gtest.h>

#include "base/json.h"
#include "model/tokenizer/tokenizer.h"
#include "tests/support/shared_data.h"

namespace causeway::model {
namespace {

TEST(TokenizerRobustnessTest, AMegabyteOfOneCharacterTakesWellUnderASecond) {
  for (const char* name : {"gpt2-like", "llama2-like", "added-tokens"}) {
    const auto tokenizer =
        *Tokenizer::FromJson(ReadWholeFile("tests/golden/tokenizers/" + std::string(name) + "/tokenizer.json"));
    for (const char c : {'a', ' ', '\n', '1', '.'}) {
      const auto start = std::chrono::steady_clock::now();
      ASSERT_TRUE(tokenizer->Encode(std::string(1 << 20, c), {}).ok());
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      EXPECT_LT(seconds.count(), 20.0) << name << " '" << c << "'";  // quadratic work would take hours
    }
  }
}

TEST(TokenizerRobustnessTest, InvalidUtf8IsAnError) {
  const auto tokenizer = *Tokenizer::FromJson(ReadWholeFile("tests/golden/tokenizers/gpt2-like/tokenizer.json"));
  EXPECT_EQ(tokenizer->Encode("a\xff", {}).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(tokenizer->Encode("\xed\xa0\x80", {}).error().code, ErrorCode::kInvalidArgument);
}

TEST(TokenizerRobustnessTest, UnknownIdsDecodeToNothing) {
  const auto tokenizer = *Tokenizer::FromJson(ReadWholeFile("tests/golden/tokenizers/gpt2-like/tokenizer.json"));
  const Token ids[] = {-1, 1 << 30, 2000000000};
  EXPECT_EQ(tokenizer->Decode(ids, false), "");
  EXPECT_EQ(tokenizer->TokenText(-5), "");
}

struct BadFile {
  const char* json;
  const char* message;  // must be in the error
};

TEST(TokenizerRobustnessTest, BadFilesAreNamedErrors) {
  const BadFile files[] = {
      {"", "invalid JSON"},
      {"[]", "no model"},
      {R"({"model":{"type":"Unigram","vocab":[]}})", "Unigram"},
      {R"({"model":{"vocab":{"a":-1},"merges":[]}})", "id of 'a'"},
      {R"({"model":{"vocab":{"a":99999999999},"merges":[]}})", "id of 'a'"},
      {R"({"model":{"vocab":{"a":1,"b":1},"merges":[]}})", "share id"},
      {R"({"model":{"vocab":{"a":0},"merges":["a b"]}})", "lacks"},
      {R"({"model":{"vocab":{"a":0},"merges":["a"]}})", "no pair"},
      {R"({"model":{"vocab":{"a":0},"merges":[],"unk_token":"u"}})", "unk_token"},
      {R"({"model":{"vocab":{},"merges":[]},"normalizer":{"type":"Magic"}})", "Magic"},
      {R"({"model":{"vocab":{},"merges":[]},"pre_tokenizer":{"type":"Split","pattern":{"Regex":"("},"behavior":"Isolated"}})",
       "bad pattern"},
      {R"({"model":{"vocab":{},"merges":[]},"added_tokens":[{"id":-3,"content":"x"}]})", "out of range"},
      {R"({"model":{"vocab":{},"merges":[]},"decoder":5})", "decoder"},
      {R"({"model":{"vocab":{"a":0},"merges":[]},"post_processor":{"type":"TemplateProcessing",)"
       R"("single":[{"SpecialToken":{"id":"s"}},{"Sequence":{"id":"A"}}],"special_tokens":{"s":{"ids":[1]}}}})",
       "adds the id 1"},
  };
  for (const BadFile& file : files) {
    const auto tokenizer = Tokenizer::FromJson(file.json);
    ASSERT_FALSE(tokenizer.ok()) << file.json;
    EXPECT_NE(tokenizer.error().message.find(file.message), std::string::npos)
        << file.json << ": " << tokenizer.error().message;
  }
}

TEST(TokenizerRobustnessTest, EndlessPatternsHitALimit) {
  const auto tokenizer =
      Tokenizer::FromJson(R"({"model":{"vocab":{"a":0},"merges":[]},"pre_tokenizer":{"type":"Split",)"
                          R"("pattern":{"Regex":"(a+)+(b|c)+$"},"behavior":"Isolated"}})");
  ASSERT_TRUE(tokenizer.ok());
  const auto ids = (*tokenizer)->Encode(std::string(40, 'a') + "d", {});
  if (!ids.ok()) {  // PCRE2 may also prove that no match exists
    EXPECT_EQ(ids.error().code, ErrorCode::kInvalidArgument);
  }
}

TEST(TokenizerRobustnessTest, SequencesNestOnlySoDeep) {
  std::string json = R"({"type":"NFC"})";
  for (int i = 0; i < 12; ++i) {
    json = R"({"type":"Sequence","normalizers":[)" + json + "]}";
  }
  EXPECT_FALSE(Tokenizer::FromJson(R"({"model":{"vocab":{},"merges":[]},"normalizer":)" + json + "}").ok());
}

}  // namespace
}  // namespace causeway::model
