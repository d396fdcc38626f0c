#include "model/tokenizer/word_pieces.h"

#include <algorithm>
#include <utility>

#include "model/tokenizer/utf8.h"

namespace causeway::model::tokenizer {
namespace {

constexpr size_t kMaxCharacters = 100;  // of a word; longer ones are unknown, as in BERT's own tokenizer
constexpr std::string_view kBegin = "\xE2\x96\x81";

bool IsTooLong(std::string_view word) {
  size_t characters = 0;
  for (size_t at = 0; at < word.size() && characters <= kMaxCharacters; ++characters) {
    at += CharacterAt(word, at).length;
  }
  return characters > kMaxCharacters;
}

}  // namespace

WordPieces::WordPieces(std::vector<std::string> texts, std::optional<Token> unknown)
    : texts_(std::move(texts)), unknown_(unknown) {
  ids_.reserve(texts_.size());
  for (size_t i = 0; i < texts_.size(); ++i) {
    ids_.emplace(texts_[i], static_cast<Token>(i));
    longest_ = std::max(longest_, texts_[i].size());
  }
}

void WordPieces::Encode(std::string_view word, std::vector<Token>& ids) const {
  if (word.empty()) {
    return;
  }
  const size_t before = ids.size();
  const std::string marked = std::string(kBegin).append(word);
  const std::string_view text = marked;
  // The mark inside a word is a character that no piece holds, not the beginning of another word.
  const bool cannot = IsTooLong(word) || word.find(kBegin) != std::string_view::npos;
  size_t at = cannot ? std::string::npos : 0;
  while (at < text.size()) {
    size_t end = std::min(text.size(), at + longest_);
    auto piece = Id(text.substr(at, end - at));
    // A piece never ends inside a character: no text of a vocabulary does.
    while (!piece && --end > at) {
      piece = Id(text.substr(at, end - at));
    }
    at = piece ? end : std::string::npos;
    if (piece) {
      ids.push_back(*piece);
    }
  }
  if (at == std::string::npos) {
    ids.resize(before);
    if (unknown_) {
      ids.push_back(*unknown_);
    }
  }
}

std::optional<Token> WordPieces::Id(std::string_view text) const {
  const auto it = ids_.find(text);
  return it == ids_.end() ? std::nullopt : std::optional<Token>(it->second);
}

const std::string* WordPieces::Text(Token id) const {
  const auto index = static_cast<size_t>(id);
  return id >= 0 && index < texts_.size() ? &texts_[index] : nullptr;
}

}  // namespace causeway::model::tokenizer
