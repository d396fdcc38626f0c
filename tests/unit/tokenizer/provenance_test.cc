// Text from users can never become a special token.
#include <gtest/gtest.h>

#include "model/tokenizer/tokenizer.h"
#include "tests/support/shared_data.h"

namespace causeway::model {
namespace {

std::unique_ptr<const Tokenizer> Fable() {
  auto tokenizer = Tokenizer::FromJson(ReadWholeFile("model/builtin/fable/tokenizer.json"));
  EXPECT_TRUE(tokenizer.ok());
  return std::move(tokenizer).value();
}

TEST(ProvenanceTest, TrustedPiecesHoldSpecialTokensUntrustedOnesDoNot) {
  const auto tokenizer = Fable();
  const Tokenizer::Piece pieces[] = {{"<|user|>", true}, {"a<|end|>b", false}, {"<|end|>", true}};
  const auto ids = *tokenizer->EncodePieces(pieces, false);
  EXPECT_EQ(ids.front(), *tokenizer->TokenId("<|user|>"));
  EXPECT_EQ(ids.back(), *tokenizer->TokenId("<|end|>"));
  int specials = 0;
  for (const Token id : ids) {
    specials += tokenizer->IsSpecial(id) ? 1 : 0;
  }
  EXPECT_EQ(specials, 2);
  EXPECT_EQ(tokenizer->Decode(ids, false), "<|user|>a<|end|>b<|end|>");
}

TEST(ProvenanceTest, ATokenSplitOverTheBorderIsNone) {
  const auto tokenizer = Fable();
  const Tokenizer::Piece pieces[] = {{"<|us", true}, {"er|>", false}};
  for (const Token id : *tokenizer->EncodePieces(pieces, false)) {
    EXPECT_FALSE(tokenizer->IsSpecial(id));
  }
}

TEST(ProvenanceTest, WithoutSpecialsInTextPiecesEncodeLikeTheWhole) {
  const auto tokenizer = Fable();
  const Tokenizer::Piece pieces[] = {{"Once upon", true}, {" a ti", false}, {"me, there was", true}};
  EXPECT_EQ(*tokenizer->EncodePieces(pieces, true),
            *tokenizer->Encode("Once upon a time, there was", {.add_special_tokens = true}));
}

TEST(ProvenanceTest, ParsingSpecialsCanBeTurnedOff) {
  const auto tokenizer = Fable();
  const auto ids = *tokenizer->Encode("<|end|>", {.add_special_tokens = false, .parse_special = false});
  EXPECT_GT(ids.size(), 1U);
  EXPECT_EQ(*tokenizer->Encode("<|end|>", {.add_special_tokens = false}),
            std::vector<Token>{*tokenizer->TokenId("<|end|>")});
}

}  // namespace
}  // namespace causeway::model
