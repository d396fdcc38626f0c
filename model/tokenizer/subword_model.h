// How a word becomes tokens: the part of a tokenizer that holds the vocabulary.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/token.h"

namespace causeway::model::tokenizer {

// Immutable; safe from any thread.
class SubwordModel {
 public:
  virtual ~SubwordModel() = default;
  // Appends the ids of one pre-tokenized word.
  virtual void Encode(std::string_view word, std::vector<Token>& ids) const = 0;
  virtual std::optional<Token> Id(std::string_view text) const = 0;
  virtual const std::string* Text(Token id) const = 0;  // null if the vocabulary has no such id
  virtual Token max_id() const = 0;
};

}  // namespace causeway::model::tokenizer
