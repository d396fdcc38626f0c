#include "model/tokenizer/sentence_pieces.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "fmt/format.h"
#include "model/tokenizer/utf8.h"

namespace causeway::model::tokenizer {

// A stretch of the text in a linked list; length 0 means it has been joined to another.
struct SentencePieces::Symbol {
  uint32_t begin;
  uint32_t length;
  int32_t previous;
  int32_t next;
};

// Two neighbours that may join; one of a length that no longer fits is stale.
struct SentencePieces::Candidate {
  float score;
  int32_t left;
  uint32_t length;

  // The heap's top is the best score, leftmost first.
  bool operator<(const Candidate& other) const {
    return score != other.score ? score < other.score : left > other.left;
  }
};

// One text on its way to pieces.
class SentencePieces::Joiner {
 public:
  Joiner(const SentencePieces& model, std::string_view text) : model_(model), text_(text) {
    for (size_t at = 0; at < text.size();) {
      const size_t length = CharacterAt(text, at).length;
      const auto index = static_cast<int32_t>(symbols_.size());
      symbols_.push_back({static_cast<uint32_t>(at), static_cast<uint32_t>(length), index - 1, index + 1});
      at += length;
    }
    if (!symbols_.empty()) {
      symbols_.back().next = -1;
    }
  }

  void Run() {
    for (int32_t i = 0; i + 1 < static_cast<int32_t>(symbols_.size()); ++i) {
      Offer(i);
    }
    while (!heap_.empty()) {
      std::pop_heap(heap_.begin(), heap_.end());
      const Candidate best = heap_.back();
      heap_.pop_back();
      Symbol& left = At(best.left);
      if (left.length == 0 || left.next < 0 || left.length + At(left.next).length != best.length) {
        continue;
      }
      Symbol& right = At(left.next);
      left.length = best.length;
      left.next = right.next;
      right.length = 0;
      if (left.next >= 0) {
        At(left.next).previous = best.left;
        Offer(best.left);
      }
      if (left.previous >= 0) {
        Offer(left.previous);
      }
    }
  }

  void Write(std::vector<Token>& ids) const {
    for (const Symbol& symbol : symbols_) {
      if (symbol.length > 0) {
        Write(text_.substr(symbol.begin, symbol.length), ids);
      }
    }
  }

 private:
  Symbol& At(int32_t index) { return symbols_[static_cast<size_t>(index)]; }

  void Offer(int32_t index) {
    const Symbol& left = At(index);
    const Symbol& right = At(left.next);
    const std::string_view joined = text_.substr(left.begin, left.length + right.length);
    const Piece* const piece = model_.Joined(joined);
    if (piece == nullptr) {
      return;
    }
    if (piece->kind == PieceKind::kUnused) {
      apart_.emplace(joined, left.length);
    }
    heap_.push_back({piece->score, index, left.length + right.length});
    std::push_heap(heap_.begin(), heap_.end());
  }

  // Unused pieces fall into the two that first offered to make them, and so on: each is shorter than the whole.
  void Write(std::string_view text, std::vector<Token>& ids) const {
    std::vector<std::string_view> parts = {text};
    while (!parts.empty()) {
      const std::string_view part = parts.back();
      parts.pop_back();
      const auto apart = apart_.find(part);
      if (apart == apart_.end()) {
        model_.Put(part, ids);
      } else {
        parts.push_back(part.substr(apart->second));
        parts.push_back(part.substr(0, apart->second));
      }
    }
  }

  const SentencePieces& model_;
  const std::string_view text_;
  std::vector<Symbol> symbols_;
  std::vector<Candidate> heap_;
  std::unordered_map<std::string_view, uint32_t> apart_;  // unused pieces met, and where they fall apart
};

Result<SentencePieces> SentencePieces::Make(std::vector<Piece> pieces, std::optional<Token> unknown) {
  SentencePieces model;
  model.pieces_ = std::move(pieces);
  model.unknown_ = unknown;
  model.ids_.reserve(model.pieces_.size());
  for (size_t i = 0; i < model.pieces_.size(); ++i) {
    const Piece& piece = model.pieces_[i];
    if (!std::isfinite(piece.score)) {
      return MakeError(ErrorCode::kInvalidArgument, fmt::format("the score of token {} is not finite", i));
    }
    model.ids_.emplace(piece.text, static_cast<Token>(i));
  }
  for (int byte = 0; byte < 256; ++byte) {
    const auto id = model.Id(fmt::format("<0x{:02X}>", byte));
    if (id && model.pieces_[static_cast<size_t>(*id)].kind == PieceKind::kByte) {
      model.bytes_[byte] = id;
    }
  }
  return model;
}

const Piece* SentencePieces::Joined(std::string_view text) const {
  const auto id = Id(text);
  if (!id) {
    return nullptr;
  }
  const Piece& piece = pieces_[static_cast<size_t>(*id)];
  return piece.kind == PieceKind::kNormal || piece.kind == PieceKind::kUnused ? &piece : nullptr;
}

// A piece, or the bytes of a text that is none, or the unknown token: one for a run of such texts.
void SentencePieces::Put(std::string_view text, std::vector<Token>& ids) const {
  const auto id = Id(text);
  if (id && pieces_[static_cast<size_t>(*id)].kind == PieceKind::kNormal) {
    ids.push_back(*id);
    return;
  }
  const bool spelled =
      std::all_of(text.begin(), text.end(), [&](char c) { return bytes_[static_cast<uint8_t>(c)].has_value(); });
  if (spelled) {
    for (const char c : text) {
      ids.push_back(*bytes_[static_cast<uint8_t>(c)]);
    }
  } else if (unknown_ && (ids.empty() || ids.back() != *unknown_)) {
    ids.push_back(*unknown_);
  }
}

void SentencePieces::Encode(std::string_view text, std::vector<Token>& ids) const {
  Joiner joiner(*this, text);
  joiner.Run();
  joiner.Write(ids);
}

std::optional<Token> SentencePieces::Id(std::string_view text) const {
  const auto it = ids_.find(text);
  return it == ids_.end() ? std::nullopt : std::optional<Token>(it->second);
}

const std::string* SentencePieces::Text(Token id) const {
  const auto index = static_cast<size_t>(id);
  return id >= 0 && index < pieces_.size() ? &pieces_[index].text : nullptr;
}

}  // namespace causeway::model::tokenizer
