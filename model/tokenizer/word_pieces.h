// WordPiece: a word is cut from its front into the longest pieces known, or is unknown as a whole. In O(length x
// longest piece) lookups a word, and words have a limit. Source: google-research/bert, tokenization.py; vocabularies
// come from GGUF files, which mark the pieces that begin a word (U+2581) instead of those that go on with one ("##").
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "model/tokenizer/subword_model.h"

namespace causeway::model::tokenizer {

class WordPieces final : public SubwordModel {
 public:
  // Ids are places in the list; of equal texts the first counts.
  WordPieces(std::vector<std::string> texts, std::optional<Token> unknown);
  WordPieces(const WordPieces&) = delete;  // a copy's views would be of the original
  WordPieces& operator=(const WordPieces&) = delete;

  void Encode(std::string_view word, std::vector<Token>& ids) const override;
  std::optional<Token> Id(std::string_view text) const override;
  const std::string* Text(Token id) const override;
  Token max_id() const override { return static_cast<Token>(texts_.size()) - 1; }

 private:
  const std::vector<std::string> texts_;
  std::unordered_map<std::string_view, Token> ids_;  // views of texts_
  size_t longest_ = 0;                               // bytes of the longest text
  std::optional<Token> unknown_;
};

}  // namespace causeway::model::tokenizer
