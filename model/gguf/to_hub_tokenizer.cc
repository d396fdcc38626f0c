#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>

#include "model/gguf/to_hub.h"
#include "model/gguf/vocabulary.h"
#include "model/tokenizer/utf8.h"

namespace causeway::model::gguf {
namespace {

// Ids by text. Of equal texts the one that text becomes: the last in BPE, the first in SentencePiece's model.
using Ids = std::unordered_map<std::string_view, Token>;
Ids IdsOf(const Vocabulary& vocabulary, bool first_counts) {
  Ids ids;
  ids.reserve(vocabulary.texts.size());
  for (size_t i = 0; i < vocabulary.texts.size(); ++i) {
    if (first_counts) {
      ids.emplace(vocabulary.texts[i], static_cast<Token>(i));
    } else {
      ids.insert_or_assign(vocabulary.texts[i], static_cast<Token>(i));
    }
  }
  return ids;
}

// Lists are spelled "left right", which older readers know too; no text of a merge holds a space.
Result<Json> BpeMerges(const File& file, const Ids& ids) {
  ASSIGN_OR_RETURN(const auto merges, file.metadata.Texts("tokenizer.ggml.merges"));
  Json list = Json::array();
  for (const std::string_view merge : merges) {
    const size_t space = merge.find(' ', 1);
    if (space == std::string_view::npos) {
      continue;
    }
    const std::string_view left = merge.substr(0, space);
    const std::string_view right = merge.substr(space + 1);
    if (ids.contains(left) && ids.contains(right) && ids.contains(std::string(left).append(right))) {
      list.push_back(std::string(merge));
    }
  }
  return list;
}

// A way to make a piece of two others. The best score goes first; a piece's own ways by the longer left part, as in
// the reference's conversion.
struct Way {
  double score;
  Token piece;
  size_t left_bytes;

  bool operator<(const Way& other) const {
    return score != other.score   ? score > other.score
           : piece != other.piece ? piece < other.piece
                                  : left_bytes > other.left_bytes;
  }
};

Result<Json> SentencePieceMerges(const File& file, const Vocabulary& vocabulary, const Ids& ids) {
  ASSIGN_OR_RETURN(const auto scores, file.metadata.Numbers("tokenizer.ggml.scores"));
  const auto joins = [&](std::string_view text) {
    const auto it = ids.find(text);
    if (it == ids.end()) {
      return false;
    }
    const TokenType type = vocabulary.types[static_cast<size_t>(it->second)];
    return type == TokenType::kNormal || type == TokenType::kUserDefined;
  };
  std::vector<Way> ways;
  for (const auto& [text, id] : ids) {
    if (!joins(text) || text.find(' ') != std::string_view::npos) {  // spaces are marked before they are joined
      continue;
    }
    for (size_t at = 0; at < text.size();) {
      at += tokenizer::CharacterAt(text, at).length;
      if (at < text.size() && joins(text.substr(0, at)) && joins(text.substr(at))) {
        ways.push_back({scores.empty() ? 0.0 : scores[static_cast<size_t>(id)], id, at});
      }
    }
  }
  std::sort(ways.begin(), ways.end());
  Json list = Json::array();
  for (const Way& way : ways) {
    const std::string_view text = vocabulary.texts[static_cast<size_t>(way.piece)];
    list.push_back(std::string(text.substr(0, way.left_bytes)).append(" ").append(text.substr(way.left_bytes)));
  }
  return list;
}

Json AddedTokens(std::vector<AddedToken> added) {
  std::sort(added.begin(), added.end(), [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  Json list = Json::array();
  for (const AddedToken& token : added) {
    list.push_back({{"id", token.id},
                    {"content", token.content},
                    {"single_word", token.single_word},
                    {"lstrip", token.lstrip},
                    {"rstrip", token.rstrip},
                    {"normalized", token.normalized},
                    {"special", token.special}});
  }
  return list;
}

Json PostProcessorOf(const TokenizerDescription& description) {
  const TokenizerParts& parts = description.parts;
  if (parts.before.empty() && parts.behind.empty()) {
    return {};
  }
  Json specials = Json::object();
  const auto pieces = [&](const std::vector<Token>& ids, int type, Json& list) {
    for (const Token id : ids) {
      const std::string text(description.vocabulary.texts[static_cast<size_t>(id)]);
      specials[text] = {{"id", text}, {"ids", Json::array({id})}, {"tokens", Json::array({text})}};
      list.push_back({{"SpecialToken", {{"id", text}, {"type_id", type}}}});
    }
  };
  Json single = Json::array();
  Json pair = Json::array();
  for (const auto& [name, type] : {std::pair("A", 0), std::pair("B", 1)}) {
    const Json sequence = {{"Sequence", {{"id", name}, {"type_id", type}}}};
    pieces(parts.before, type, pair);
    pair.push_back(sequence);
    pieces(parts.behind, type, pair);
    if (type == 0) {
      single = pair;
    }
  }
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", specials}};
}

}  // namespace

Result<Json> HubTokenizer(const File& file) {
  ASSIGN_OR_RETURN(auto description, DescribeTokenizer(file));
  if (!description) {
    return Json();
  }
  if (description->algorithm == Algorithm::kWordPieces) {
    return MakeError(ErrorCode::kUnsupported, "a WordPiece vocabulary cannot be written to tokenizer.json");
  }
  const bool sentence_pieces = description->algorithm == Algorithm::kSentencePieces;
  const Vocabulary& vocabulary = description->vocabulary;
  const Ids ids = IdsOf(vocabulary, sentence_pieces);
  Json vocab = Json::object();
  for (const auto& [text, id] : ids) {
    vocab[std::string(text)] = id;
  }
  ASSIGN_OR_RETURN(Json merges, sentence_pieces ? SentencePieceMerges(file, vocabulary, ids) : BpeMerges(file, ids));
  const bool unknown = sentence_pieces && description->unknown;
  Json model = {
      {"type", "BPE"},
      {"dropout", nullptr},
      {"unk_token", unknown ? Json(std::string(vocabulary.texts[static_cast<size_t>(*description->unknown)])) : Json()},
      {"continuing_subword_prefix", nullptr},
      {"end_of_word_suffix", nullptr},
      {"fuse_unk", sentence_pieces},
      {"byte_fallback", sentence_pieces || description->byte_fallback},
      {"ignore_merges", description->ignore_merges},
      {"vocab", std::move(vocab)},
      {"merges", std::move(merges)}};
  TokenizerParts& parts = description->parts;
  return Json{{"version", "1.0"},
              {"truncation", nullptr},
              {"padding", nullptr},
              {"added_tokens", AddedTokens(parts.added)},
              {"normalizer", parts.normalizer},
              {"pre_tokenizer", parts.pre_tokenizer},
              {"post_processor", PostProcessorOf(*description)},
              {"decoder", parts.decoder},
              {"model", std::move(model)}};
}

}  // namespace causeway::model::gguf
