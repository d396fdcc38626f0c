// SentencePiece's BPE model: pieces with scores, of which neighbours join into the best-scored one, in O(n log n).
// Source: github.com/google/sentencepiece, src/bpe_model.cc; vocabularies come from GGUF files.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "model/tokenizer/subword_model.h"

namespace causeway::model::tokenizer {

enum class PieceKind : uint8_t {
  kNormal,
  kUnused,  // takes part in joining, but never comes out: it is taken apart again
  kByte,    // <0x00> to <0xFF>: what stands for characters without a piece
  kOther,   // control and unknown pieces: text never becomes one
};

struct Piece {
  std::string text;
  float score = 0.0F;
  PieceKind kind = PieceKind::kNormal;
};

// Text comes with its spaces written as U+2581. Unlike Bpe, which joins ids, it joins texts, so that a character which
// is no piece may still be a part of one.
class SentencePieces final : public SubwordModel {
 public:
  // Ids are places in the list; of equal texts the first counts. kInvalidArgument for scores that are not finite.
  static Result<SentencePieces> Make(std::vector<Piece> pieces, std::optional<Token> unknown);
  SentencePieces(SentencePieces&&) = default;  // a copy's views would be of the original

  void Encode(std::string_view text, std::vector<Token>& ids) const override;
  std::optional<Token> Id(std::string_view text) const override;
  const std::string* Text(Token id) const override;
  Token max_id() const override { return static_cast<Token>(pieces_.size()) - 1; }

 private:
  struct Symbol;
  struct Candidate;
  class Joiner;
  SentencePieces() = default;

  // The piece that joining may make of `text`; null if there is none.
  const Piece* Joined(std::string_view text) const;
  void Put(std::string_view text, std::vector<Token>& ids) const;

  std::vector<Piece> pieces_;
  std::unordered_map<std::string_view, Token> ids_;  // of all pieces; views of pieces_, which never changes
  std::optional<Token> bytes_[256];
  std::optional<Token> unknown_;
};

}  // namespace causeway::model::tokenizer
