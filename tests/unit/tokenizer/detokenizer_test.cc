#include "model/tokenizer/incremental_detokenizer.h"

#include <gtest/gtest.h>

#include "base/rng.h"
#include "tests/support/shared_data.h"

namespace causeway::model {
namespace {

std::unique_ptr<const Tokenizer> Load(const std::string& name) {
  auto tokenizer = Tokenizer::FromJson(ReadWholeFile("tests/golden/tokenizers/" + name + "/tokenizer.json"));
  EXPECT_TRUE(tokenizer.ok());
  return std::move(tokenizer).value();
}

bool IsWholeUtf8(const std::string& text) {
  for (size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const size_t length = byte < 0x80 ? 1 : byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC2 ? 2 : 0;
    if (length == 0 || i + length > text.size()) {
      return false;
    }
    i += length;
  }
  return true;
}

TEST(DetokenizerTest, StreamEqualsTheWholeForRealText) {
  const std::string text = "Héllo wörld 👋🏽 — naïve 日本語 text\n\n  with  spaces.";
  for (const char* name : {"gpt2-like", "llama2-like", "added-tokens"}) {
    const auto tokenizer = Load(name);
    const auto ids = tokenizer->Encode(text, {.add_special_tokens = false});
    ASSERT_TRUE(ids.ok());
    IncrementalDetokenizer stream(*tokenizer, false);
    std::string all;
    for (const Token id : *ids) {
      const std::string part = stream.Append(id);
      EXPECT_TRUE(IsWholeUtf8(part)) << name;
      all += part;
    }
    all += stream.Flush();
    EXPECT_EQ(all, tokenizer->Decode(*ids, false)) << name;
  }
}

TEST(DetokenizerTest, RandomTokensNeverGiveHalfACharacter) {
  constexpr uint64_t kSeed = 7;
  for (const char* name : {"gpt2-like", "llama2-like"}) {
    const auto tokenizer = Load(name);
    IncrementalDetokenizer stream(*tokenizer, true);
    for (uint64_t i = 0; i < 3000; ++i) {
      const auto id = static_cast<Token>(RandomBits(kSeed, 0, i) % tokenizer->vocab_size());
      ASSERT_TRUE(IsWholeUtf8(stream.Append(id))) << name << " seed " << kSeed << " step " << i;
    }
    EXPECT_TRUE(IsWholeUtf8(stream.Flush()));
  }
}

// Not so for byte-fallback tokenizers: there the reference turns every byte of a run into U+FFFD if the run
// is not valid as a whole, and a stream cannot take back the characters that came first.
TEST(DetokenizerTest, StreamEqualsTheWholeForRandomTokens) {
  constexpr uint64_t kSeed = 11;
  for (const char* name : {"gpt2-like", "added-tokens"}) {
    const auto tokenizer = Load(name);
    for (uint64_t round = 0; round < 300; ++round) {
      const bool skip = round % 2 == 1;
      IncrementalDetokenizer stream(*tokenizer, skip);
      std::vector<Token> ids;
      std::string all;
      for (uint64_t i = 0; i < 1 + round % 40; ++i) {
        ids.push_back(static_cast<Token>(RandomBits(kSeed, round, i) % tokenizer->vocab_size()));
        all += stream.Append(ids.back());
      }
      all += stream.Flush();
      ASSERT_EQ(all, tokenizer->Decode(ids, skip)) << name << " seed " << kSeed << " round " << round;
    }
  }
}

TEST(DetokenizerTest, ContextKeepsTheSpaceOfTheFirstToken) {
  const auto tokenizer = Load("llama2-like");
  const auto prompt = *tokenizer->Encode("the", {.add_special_tokens = true});
  const auto both = *tokenizer->Encode("the end", {.add_special_tokens = true});
  IncrementalDetokenizer stream(*tokenizer, true, prompt);
  std::string all;
  for (size_t i = prompt.size(); i < both.size(); ++i) {
    all += stream.Append(both[i]);
  }
  EXPECT_EQ(all + stream.Flush(), " end");
}

}  // namespace
}  // namespace causeway::model
