// Byte-pair encoding: a word to ids by merging the best-ranked neighbours, in O(n log n).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/token.h"
#include "model/tokenizer/subword_model.h"

namespace causeway::model::tokenizer {

class Bpe final : public SubwordModel {
 public:
  // The `model` object of tokenizer.json.
  static Result<Bpe> FromJson(const Json& model);
  // A vocabulary as GGUF files hold it: texts by id (of equal ones the last counts) and merges "left right", best
  // first. Merges of texts that are no tokens are left out: converters rewrite tokens that users have added.
  struct Options {
    bool ignore_merges = false;  // a word that is a token is taken whole
    bool byte_fallback = false;  // a character that is no token falls into <0x00> to <0xFF>
  };
  static Bpe FromLists(std::span<const std::string_view> texts, std::span<const std::string_view> merges,
                       const Options& options);

  void Encode(std::string_view word, std::vector<Token>& ids) const override;
  std::optional<Token> Id(std::string_view text) const override;
  const std::string* Text(Token id) const override;
  Token max_id() const override { return static_cast<Token>(texts_.size()) - 1; }

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  struct Merge {
    uint32_t rank;
    Token id;
  };
  struct Symbol;
  struct Candidate;

  Result<void> ReadVocab(const Json& vocab);
  Result<void> ReadMerges(const Json& merges);
  Result<void> ReadOptions(const Json& model);
  void FindBytes();
  const Merge* Find(Token left, Token right) const;
  void Split(std::string_view word, std::vector<Token>& symbols) const;
  bool SplitBytes(std::string_view character, std::vector<Token>& symbols) const;
  void MergeAll(std::vector<Token>& symbols) const;

  std::unordered_map<std::string, Token, Hash, std::equal_to<>> ids_;
  std::vector<std::string> texts_;  // by id; `present_` tells holes from empty texts
  std::vector<bool> present_;
  std::unordered_map<uint64_t, Merge> merges_;  // left << 32 | right
  std::optional<Token> unknown_;
  std::optional<Token> bytes_[256];  // <0x00> .. <0xFF>
  std::string prefix_;               // continuing_subword_prefix
  std::string suffix_;               // end_of_word_suffix
  bool fuse_unknown_ = false;
  bool byte_fallback_ = false;
  bool ignore_merges_ = false;
};

}  // namespace causeway::model::tokenizer
