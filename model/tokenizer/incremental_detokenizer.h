// Tokens to text as they come, never half a character.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/token.h"
#include "model/tokenizer/tokenizer.h"

namespace causeway::model {

// Decodes a short window: the last tokens whose text is out, as context for decoders that treat the first
// token apart, and those whose text is not. Used by one thread at a time; the tokenizer outlives it.
class IncrementalDetokenizer {
 public:
  // `context`: the end of the prompt (the last few tokens are enough); its text is not emitted.
  IncrementalDetokenizer(const Tokenizer& tokenizer, bool skip_special_tokens, std::span<const Token> context = {});

  // The text that this token makes final. Empty while a character is incomplete.
  std::string Append(Token token);
  // What is held back, when no token follows: incomplete bytes as U+FFFD.
  std::string Flush();

 private:
  std::string DecodeWindow();
  std::string Advance(const std::string& text);

  const Tokenizer& tokenizer_;
  const bool skip_special_tokens_;
  std::vector<Token> window_;  // context, then pending tokens
  size_t context_ = 0;         // tokens of the window whose text is out
  std::string context_text_;
};

}  // namespace causeway::model
