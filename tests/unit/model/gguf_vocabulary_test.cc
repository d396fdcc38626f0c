#include "model/gguf/vocabulary.h"

#include <algorithm>
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/rng.h"
#include "model/gguf/pre_tokenizers.h"
#include "model/gguf/to_hub.h"
#include "model/tokenizer/byte_level.h"
#include "model/tokenizer/digit_groups.h"
#include "model/tokenizer/regex.h"
#include "model/tokenizer/stages.h"
#include "tests/support/gguf_builder.h"

namespace causeway::model::gguf {
namespace {

using testing::HasSubstr;
using Type = ValueType;

std::span<const std::byte> Bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

constexpr const char* kMark = "\xE2\x96\x81";  // U+2581

Result<std::unique_ptr<const Tokenizer>> Read(const GgufBuilder& builder) {
  const std::string bytes = builder.Build();
  return ReadTokenizer(*Parse(Bytes(bytes)));
}

std::vector<Token> PlainIds(const Tokenizer& tokenizer, std::string_view text) {
  return *tokenizer.Encode(text, {.add_special_tokens = false, .parse_special = false});
}

TEST(GgufVocabularyTest, EveryPreTokenizerMakesATokenizer) {
  for (const PreTokenizer& row : PreTokenizers()) {
    for (const std::string_view pattern : row.patterns) {
      EXPECT_TRUE(tokenizer::Regex::Compile(std::string(pattern)).ok()) << row.names[0];
    }
    for (const std::string_view name : row.names) {
      GgufBuilder builder;
      builder.Text("tokenizer.ggml.model", "gpt2").Text("tokenizer.ggml.pre", name);
      builder.Texts("tokenizer.ggml.tokens",
                    {"a", "b", "ab", "<|x|>", row.spelling == Spelling::kBytes ? "\xC4\xA0" : kMark});
      builder.Numbers<int32_t>("tokenizer.ggml.token_type", Type::kInt32, {1, 1, 1, 3, 1});
      builder.Texts("tokenizer.ggml.merges", {"a b", "a nothing", "nonsense"});
      const auto made = Read(builder);
      ASSERT_TRUE(made.ok()) << name << ": " << made.error().message;
      const bool words = row.spelling == Spelling::kWords;
      const std::vector<Token> wanted = words ? std::vector<Token>{2, 3, 1} : std::vector<Token>{2, 3, 4, 1};
      EXPECT_EQ(*(*made)->Encode("ab<|x|> b", {.add_special_tokens = false}), wanted) << name;
      EXPECT_EQ((*made)->Decode(PlainIds(**made, "ab b"), false), words ? "abb" : "ab b") << name;
      const std::string bytes = builder.Build();
      const auto written = Tokenizer::FromJson(DumpJson(*HubTokenizer(*Parse(Bytes(bytes)))));
      ASSERT_TRUE(written.ok()) << name << ": " << written.error().message;
      EXPECT_EQ(*(*written)->Encode("ab<|x|> b", {.add_special_tokens = false}), wanted) << name;
      EXPECT_EQ((*written)->Decode(PlainIds(**written, "ab b"), false), words ? "abb" : "ab b") << name;
    }
  }
  EXPECT_THAT(FindPreTokenizer("klingon").error().message, HasSubstr("known: default, gpt-2"));
}

// \p{Han} is the script's own characters, as in the reference's engine.
TEST(GgufVocabularyTest, ScriptsAreOfTheirCharactersAlone) {
  std::vector<tokenizer::Match> found;
  ASSERT_TRUE(tokenizer::Regex::Compile(R"(\p{Han}+)")->FindAll("\u4e2d\u3001\u6587", found).ok());
  EXPECT_EQ(found.size(), 2U);  // U+3001 belongs to several scripts
  ASSERT_TRUE(tokenizer::Regex::Compile(R"(\\p\{Han\})")->FindAll("\\p{Han}", found).ok());
  EXPECT_EQ(found.size(), 1U);  // an escaped backslash
}

// No pre-tokenizer is quadratic in the length of a run, or it says so.
TEST(GgufVocabularyTest, LongRunsTakeLittleWork) {
  for (const PreTokenizer& row : PreTokenizers()) {
    const auto cut = *tokenizer::MakePreTokenizer(StageOf(row));
    for (const char* const run : {"1", " ", "a", "\n", "\xE4\xB8\x80", "1,"}) {
      std::string text;
      while (text.size() < size_t{1} << 16) {
        text += run;
      }
      std::vector<tokenizer::SourcedText> words = {{text + "x1", false, {}}};
      if (cut) {
        const auto done = cut(words);
        EXPECT_TRUE(done.ok() || done.error().code == ErrorCode::kInvalidArgument) << row.names[0];
      }
    }
  }
}

// The words that a pre-tokenizer makes of a text, joined by '|'.
std::string Words(std::string_view name, std::string_view text) {
  const auto cut = *tokenizer::MakePreTokenizer(StageOf(**FindPreTokenizer(name)));
  std::vector<tokenizer::SourcedText> words = {{std::string(text), false, {}}};
  EXPECT_TRUE(cut(words).ok());
  std::string all;
  for (const tokenizer::SourcedText& word : words) {
    all += (all.empty() ? "" : "|") + tokenizer::BytesOfText(word.text).value_or(word.text);
  }
  return all;
}

TEST(GgufVocabularyTest, PreTokenizersCutWhereTheirModelsDo) {
  EXPECT_EQ(Words("kimi-k2", "Hello世界abc I'll 12345"), "Hello|世界|abc| I'll| |123|45");
  EXPECT_EQ(Words("kimi-k2", "fooBar世"), "foo|Bar|世");
  EXPECT_EQ(Words("gpt-4o", "abc世界"), "abc世界");  // that one has no such rule
  EXPECT_EQ(Words("superbpe", "x 1234567, 12 123"), "x |1|234|567|, |12| |123");
  EXPECT_EQ(Words("afmoe", "n12345カナ1"), "n|12|345|カナ|1");
  EXPECT_EQ(Words("spark2_5", "a!\n\nb 12345"), "a|!|\n|\n|b| |1|2|3|4|5");
  EXPECT_EQ(Words("tiny_aya", "1234567 1234x"), "1|234|567| |123|4|x");
  EXPECT_EQ(Words("qwen35", "e\xCC\x81t\xC3\xA9"), "e\xCC\x81t\xC3\xA9");
  EXPECT_TRUE(NormalizerOf(**FindPreTokenizer("qwen35")).is_null());  // unlike qwen2
  EXPECT_EQ(NormalizerOf(**FindPreTokenizer("qwen2")), (Json{{"type", "NFC"}}));
}

TEST(DigitGroupsTest, AreThoseOfTheirPatterns) {
  constexpr const char* kAlphabet[] = {"1", "2", "3", "0", "٣", "½", "x", " ", "_", "."};
  std::vector<tokenizer::Match> fast;
  std::vector<tokenizer::Match> slow;
  for (const tokenizer::DigitGrouping& grouping : tokenizer::DigitGroupings()) {
    const auto regex = tokenizer::Regex::Compile(std::string(grouping.pattern));
    ASSERT_TRUE(regex.ok());
    for (uint64_t seed = 0; seed < 2000; ++seed) {
      std::string text;
      for (uint64_t i = 0; i < 1 + seed % 12; ++i) {
        text += kAlphabet[RandomBits(seed, 0, i) % (seed % 2 == 0 ? 10 : 7)];
      }
      tokenizer::FindDigitGroups(grouping, text, fast);
      ASSERT_TRUE(regex->FindAll(text, slow, true).ok());
      if (grouping.ends_at_boundary && text.find("½") != std::string::npos) {
        continue;  // a word character for PCRE2, but not for the library that the pattern was written for
      }
      const auto same = [](const tokenizer::Match& a, const tokenizer::Match& b) {
        return a.begin == b.begin && a.end == b.end;
      };
      ASSERT_TRUE(std::equal(fast.begin(), fast.end(), slow.begin(), slow.end(), same))
          << grouping.pattern << " of '" << text << "', seed " << seed;
    }
  }
}

TEST(GgufVocabularyTest, MarkedSpacesAndBytes) {
  GgufBuilder builder;
  builder.Text("tokenizer.ggml.model", "gemma4").Text("tokenizer.ggml.pre", "whatever");
  builder.Texts("tokenizer.ggml.tokens",
                {"<bos>", "<0xC3>", "<0xA9>", kMark, "a", "\n", "\n\n", std::string(kMark) + "a"});
  builder.Numbers<int32_t>("tokenizer.ggml.token_type", Type::kInt32, {3, 6, 6, 1, 1, 1, 1, 1});
  builder.Texts("tokenizer.ggml.merges", {std::string(kMark) + " a", "\n \n"});
  builder.Uint("tokenizer.ggml.bos_token_id", 0);
  const auto made = Read(builder);
  ASSERT_TRUE(made.ok()) << made.error().message;
  EXPECT_EQ(*(*made)->Encode("a a\n\né", {}), (std::vector<Token>{0, 4, 7, 6, 1, 2}));
  EXPECT_EQ((*made)->Decode(std::vector<Token>{4, 7, 6, 1, 2}, false), "a a\n\né");
  EXPECT_EQ((*made)->TokenText(1), "\xC3");
}

TEST(GgufVocabularyTest, WordPieces) {
  const auto word = [](const char* text) { return kMark + std::string(text); };
  GgufBuilder builder;
  builder.Text("tokenizer.ggml.model", "bert");
  builder.Texts("tokenizer.ggml.tokens", {"[UNK]", "[CLS]", "[SEP]", word("un"), "affa", "ble", word("unaff"),
                                          word(","), word("世"), word("e"), word("a"), "a"});
  builder.Numbers<int32_t>("tokenizer.ggml.token_type", Type::kInt32, {2, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1});
  builder.Uint("tokenizer.ggml.unknown_token_id", 0).Uint("tokenizer.ggml.bos_token_id", 1);
  builder.Uint("tokenizer.ggml.seperator_token_id", 2);
  const auto made = Read(builder);
  ASSERT_TRUE(made.ok()) << made.error().message;
  const Tokenizer& tokenizer = **made;
  EXPECT_EQ(*tokenizer.Encode("un", {}), (std::vector<Token>{1, 3, 2}));
  // The longest piece counts, even where a shorter one would have led to an end.
  EXPECT_EQ(PlainIds(tokenizer, "unaffable"), (std::vector<Token>{6, 11, 5}));
  EXPECT_EQ(PlainIds(tokenizer, "unaffix"), (std::vector<Token>{0}));
  EXPECT_EQ(PlainIds(tokenizer, "un\u2581un"), (std::vector<Token>{0}));  // the mark in a text begins no word
  EXPECT_EQ(PlainIds(tokenizer, "UN,世É\u0001un\t un"), (std::vector<Token>{3, 7, 8, 0, 3}));
  EXPECT_EQ(PlainIds(tokenizer, "\u00C9 e\u0301"), (std::vector<Token>{9, 9}));
  EXPECT_EQ(PlainIds(tokenizer, "[CLS]"), (std::vector<Token>{0, 0, 0}));
  EXPECT_EQ(PlainIds(tokenizer, std::string(100, 'a')).size(), 100U);
  EXPECT_EQ(PlainIds(tokenizer, std::string(101, 'a')), (std::vector<Token>{0}));
  EXPECT_EQ(tokenizer.Decode(std::vector<Token>{3, 5, 7}, false), "unble ,");
  builder.Flag("tokenizer.ggml.normalizer.lowercase", false).Flag("tokenizer.ggml.add_sep_token", false);
  const auto cased = Read(builder);
  EXPECT_EQ(*(*cased)->Encode("UN un", {}), (std::vector<Token>{1, 0, 3}));
  EXPECT_EQ(PlainIds(**cased, "\u00C9"), (std::vector<Token>{0}));
}

GgufBuilder SentencePieceFile() {
  const std::string mark = "\xE2\x96\x81";
  GgufBuilder builder;
  builder.Text("tokenizer.ggml.model", "llama");
  // The best score wins, not the longest or the first; an unused piece joins and falls apart; "</s>" is never text.
  builder.Texts("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>", mark, "a", "b", "c", "ab", "bc", "abc", mark + "a",
                                          "cc", "ccc", "</", "s>", "<user>"});
  builder.Numbers<float>("tokenizer.ggml.scores", Type::kFloat32,
                         {0, 0, 0, -9, -9, -9, -9, -3, -2, -5, -8, -1, -1, -4, -4, 0});
  builder.Numbers<int32_t>("tokenizer.ggml.token_type", Type::kInt32, {2, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 5, 1, 1, 4});
  return builder;
}

TEST(GgufVocabularyTest, SentencePiecesJoinByScore) {
  const std::string bytes = SentencePieceFile().Build();
  const auto made = ReadTokenizer(*Parse(Bytes(bytes)));
  ASSERT_TRUE(made.ok()) << made.error().message;
  const Tokenizer& tokenizer = **made;
  const auto ids = [&](const char* text) {
    return *tokenizer.Encode(text, {.add_special_tokens = false, .parse_special = false});
  };
  EXPECT_EQ(ids("abc"), (std::vector<Token>{3, 9}));  // bc joins first, then a to it
  EXPECT_EQ(ids("cab"), (std::vector<Token>{3, 6, 7}));
  EXPECT_EQ(ids("ccc"), (std::vector<Token>{3, 11, 6}));    // ccc is unused: cc and c
  EXPECT_EQ(ids("</s>"), (std::vector<Token>{3, 13, 14}));  // no end of text out of a text
  EXPECT_EQ(ids("xyz"), (std::vector<Token>{3, 0}));        // one unknown for the run
  EXPECT_EQ(ids("a<user>b"), (std::vector<Token>{10, 15, 3, 5}));
  EXPECT_EQ(*tokenizer.Encode("a</s>", {}), (std::vector<Token>{1, 10, 2}));
  EXPECT_EQ(tokenizer.Decode(ids("abc"), false), "abc");
}

TEST(GgufVocabularyTest, RefusesWrongLists) {
  const auto error = [](auto add) {
    GgufBuilder builder;
    add(builder);
    const std::string bytes = builder.Build();
    const auto made = ReadTokenizer(*Parse(Bytes(bytes)));
    return made.ok() ? "none" : made.error().message;
  };
  EXPECT_THAT(error([](auto& b) { b.Text("tokenizer.ggml.model", "rwkv"); }),
              HasSubstr("'rwkv' is not served; known: llama ("));
  EXPECT_THAT(error([](auto& b) { b.Text("tokenizer.ggml.model", "llama"); }), HasSubstr("0 tokens"));
  EXPECT_THAT(error([](auto& b) {
                b.Text("tokenizer.ggml.model", "llama").Texts("tokenizer.ggml.tokens", {"a", "b"});
                b.template Numbers<float>("tokenizer.ggml.scores", Type::kFloat32, {1});
              }),
              HasSubstr("1 entries for 2 tokens"));
  EXPECT_THAT(error([](auto& b) {
                b.Text("tokenizer.ggml.model", "llama").Texts("tokenizer.ggml.tokens", {"a"});
                b.template Numbers<float>("tokenizer.ggml.scores", Type::kFloat32, {NAN});
              }),
              HasSubstr("not finite"));
  EXPECT_THAT(error([](auto& b) { b.Text("tokenizer.ggml.model", "gpt2").Texts("tokenizer.ggml.tokens", {"\xff"}); }),
              HasSubstr("no UTF-8"));
  EXPECT_EQ(error([](auto& b) { b.Text("tokenizer.ggml.model", "no_vocab"); }), "none");
}

TEST(GgufVocabularyTest, EndTokensTemplateAndSampling) {
  GgufBuilder builder = SentencePieceFile();
  builder.Uint("tokenizer.ggml.eot_token_id", 15).Uint("tokenizer.ggml.padding_token_id", 99);
  builder.Text("tokenizer.chat_template", "{{ x }}").Float("general.sampling.temp", 0.5F);
  const std::string bytes = builder.Build();
  const File file = *Parse(Bytes(bytes));
  const GenerationDefaults generation = *ReadGeneration(file);
  EXPECT_EQ(generation.eos_ids, (std::vector<Token>{2, 15}));
  EXPECT_EQ(generation.temperature, 0.5F);
  const ChatFormat chat = *ReadChatFormat(file);
  EXPECT_EQ(chat.template_source, "{{ x }}");
  EXPECT_EQ(chat.bos_token, "<s>");
  EXPECT_EQ(chat.eos_token, "</s>");
  EXPECT_EQ(chat.pad_token, "");
}

}  // namespace
}  // namespace causeway::model::gguf
