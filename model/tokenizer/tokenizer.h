// Text to ids and back: tokenizer.json, for BPE models, as the Hugging Face tokenizers library does it; or the parts
// that another container holds. `truncation` and `padding` in the file are for training scripts: a server must not cut
// a prompt, so they are not applied.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/token.h"
#include "model/tokenizer/added_tokens.h"

namespace causeway::model {

namespace tokenizer {
class SubwordModel;
}

// What a tokenizer is made of. The stages are objects as in tokenizer.json; null: none.
struct TokenizerParts {
  TokenizerParts();
  ~TokenizerParts();
  TokenizerParts(TokenizerParts&&) noexcept;

  std::unique_ptr<const tokenizer::SubwordModel> model;
  Json normalizer;
  Json pre_tokenizer;
  Json decoder;
  std::vector<AddedToken> added;
  std::vector<Token> before;  // special tokens in front of a text, and behind it
  std::vector<Token> behind;
};

// Immutable after construction; safe from any thread.
class Tokenizer {
 public:
  static Result<std::unique_ptr<const Tokenizer>> FromJson(std::string_view tokenizer_json);
  static Result<std::unique_ptr<const Tokenizer>> FromParts(TokenizerParts parts);
  ~Tokenizer();

  struct EncodeOptions {
    bool add_special_tokens = true;  // the post-processor's
    bool parse_special = true;       // special tokens written in the text are recognised
  };
  // kInvalidArgument for invalid UTF-8, or a text that hits a limit of the splitting pattern.
  Result<std::vector<Token>> Encode(std::string_view text, const EncodeOptions& options) const;

  // A rendered chat template: trusted parts may hold special tokens; no byte of an untrusted part becomes
  // part of one.
  struct Piece {
    std::string text;
    bool trusted = false;
  };
  Result<std::vector<Token>> EncodePieces(std::span<const Piece> pieces, bool add_special_tokens) const;

  // Unknown ids are skipped.
  std::string Decode(std::span<const Token> tokens, bool skip_special_tokens) const;
  // The bytes that one token stands for, possibly part of a character.
  std::string TokenText(Token token) const;

  std::optional<Token> TokenId(std::string_view content) const;
  bool IsSpecial(Token token) const;
  bool IsKnown(Token token) const;
  size_t vocab_size() const;  // highest id + 1
  std::span<const AddedToken> added_tokens() const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace causeway::model
