#include "model/gguf/vocabulary.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "model/gguf/pre_tokenizers.h"
#include "model/tokenizer/bpe.h"
#include "model/tokenizer/sentence_pieces.h"
#include "model/tokenizer/utf8.h"
#include "model/tokenizer/word_pieces.h"

namespace causeway::model::gguf {
namespace {

using tokenizer::Bpe;
using tokenizer::IsValidUtf8;
using tokenizer::Piece;
using tokenizer::PieceKind;
using tokenizer::SentencePieces;
using tokenizer::WordPieces;

constexpr size_t kMaxTokens = 1 << 24;
constexpr size_t kMaxTokenBytes = 1 << 16;
constexpr size_t kMaxTemplateBytes = 1 << 20;

Result<Vocabulary> ReadVocabulary(const File& file) {
  Vocabulary vocabulary;
  ASSIGN_OR_RETURN(vocabulary.texts, file.metadata.Texts("tokenizer.ggml.tokens"));
  const size_t count = vocabulary.texts.size();
  if (count == 0 || count > kMaxTokens) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("metadata tokenizer.ggml.tokens: {} tokens; 1 to {}", count, kMaxTokens));
  }
  for (size_t i = 0; i < count; ++i) {
    if (vocabulary.texts[i].size() > kMaxTokenBytes || !IsValidUtf8(vocabulary.texts[i])) {
      return MakeError(ErrorCode::kInvalidArgument,
                       fmt::format("metadata tokenizer.ggml.tokens: token {} is no UTF-8, or longer than {} bytes", i,
                                   kMaxTokenBytes));
    }
  }
  ASSIGN_OR_RETURN(const std::vector<double> types, file.metadata.Numbers("tokenizer.ggml.token_type"));
  if (!types.empty() && types.size() < count) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("metadata tokenizer.ggml.token_type: {} entries for {} tokens", types.size(), count));
  }
  vocabulary.types.assign(count, TokenType::kNormal);
  for (size_t i = 0; i < std::min(types.size(), count); ++i) {
    if (types[i] >= 1 && types[i] <= 6) {
      vocabulary.types[i] = static_cast<TokenType>(static_cast<uint8_t>(types[i]));
    }
  }
  return vocabulary;
}

// A token id by its key; none if it is absent, or beyond the vocabulary (writers put -1 or the size there).
Result<std::optional<Token>> IdAt(const File& file, std::string_view key, size_t tokens) {
  if (!file.metadata.Has(key)) {
    return std::optional<Token>();
  }
  ASSIGN_OR_RETURN(const int64_t id, file.metadata.Int(key, INT64_MIN, INT64_MAX));
  const bool inside = id >= 0 && id < static_cast<int64_t>(tokens);
  return inside ? std::optional<Token>(static_cast<Token>(id)) : std::nullopt;
}

// What tokenizer.ggml.model names, and what files with such a vocabulary take for granted.
struct VocabularyKind {
  std::string_view name;
  std::string_view what;
  Algorithm algorithm = Algorithm::kBpe;
  struct Ids {
    Token bos = -1, eos = -1, unknown = -1, padding = -1, separator = -1;  // -1: none
  };
  Ids ids = {};
  bool add_bos = false;
  bool add_separator = false;
  std::string_view pre_tokenizer = {};  // the file's word does not count; empty: it does
};
constexpr VocabularyKind kVocabularyKinds[] = {
    {.name = "llama",
     .what = "SentencePiece",
     .algorithm = Algorithm::kSentencePieces,
     .ids = {.bos = 1, .eos = 2, .unknown = 0},
     .add_bos = true},
    {.name = "gpt2", .what = "byte-level BPE"},
    {.name = "gemma4", .what = "BPE with marked spaces", .pre_tokenizer = "gemma4"},
    {.name = "whitespace", .what = "BPE of words"},
    {.name = "bert",
     .what = "WordPiece",
     .algorithm = Algorithm::kWordPieces,
     .ids = {.bos = 101, .unknown = 100, .padding = 0, .separator = 102},
     .add_bos = true,
     .add_separator = true},
};

Result<const VocabularyKind*> KindOf(const File& file) {
  ASSIGN_OR_RETURN(const std::string model, file.metadata.Text("tokenizer.ggml.model", "none"));
  std::string known;
  for (const VocabularyKind& kind : kVocabularyKinds) {
    if (kind.name == model) {
      return &kind;
    }
    known += fmt::format("{} ({}), ", kind.name, kind.what);
  }
  if (model == "none" || model == "no_vocab") {
    return nullptr;
  }
  return MakeError(ErrorCode::kUnsupported,
                   fmt::format("tokenizer.ggml.model '{}' is not served; known: {}none", model, known));
}

struct SpecialIds {
  std::optional<Token> bos, eos, unknown, padding, separator;
};
Result<SpecialIds> ReadSpecialIds(const File& file, size_t tokens) {
  SpecialIds ids;
  ASSIGN_OR_RETURN(const VocabularyKind* const kind, KindOf(file));
  const auto read = [&](const char* key, Token usual) -> Result<std::optional<Token>> {
    const bool there = usual >= 0 && static_cast<size_t>(usual) < tokens;
    return file.metadata.Has(key) || !there ? IdAt(file, key, tokens) : std::optional<Token>(usual);
  };
  const VocabularyKind usual = kind != nullptr ? *kind : VocabularyKind();
  ASSIGN_OR_RETURN(ids.bos, read("tokenizer.ggml.bos_token_id", usual.ids.bos));
  ASSIGN_OR_RETURN(ids.eos, read("tokenizer.ggml.eos_token_id", usual.ids.eos));
  ASSIGN_OR_RETURN(ids.unknown, read("tokenizer.ggml.unknown_token_id", usual.ids.unknown));
  ASSIGN_OR_RETURN(ids.padding, read("tokenizer.ggml.padding_token_id", usual.ids.padding));
  ASSIGN_OR_RETURN(ids.separator, read("tokenizer.ggml.seperator_token_id", usual.ids.separator));  // spelled so
  return ids;
}

// Tokens that are found in a text before anything else. Control tokens are special: no text of a client becomes one.
std::vector<AddedToken> AddedOf(const Vocabulary& vocabulary) {
  std::vector<AddedToken> added;
  for (size_t i = 0; i < vocabulary.texts.size(); ++i) {
    const TokenType type = vocabulary.types[i];
    const bool special = type == TokenType::kControl || type == TokenType::kUnknown;
    if ((special || type == TokenType::kUserDefined) && !vocabulary.texts[i].empty()) {
      AddedToken token;
      token.id = static_cast<Token>(i);
      token.content = std::string(vocabulary.texts[i]);
      token.special = special;
      added.push_back(std::move(token));
    }
  }
  return added;
}

// Phi-3's tokenizer lets its markers swallow the white space behind them; the file has no place to say so.
void StripAfterMarkers(const File& file, std::vector<AddedToken>& added) {
  const auto name = file.metadata.Text("general.name", "");
  std::string lower = name.ok() ? *name : std::string();
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (lower.find("phi-3") == std::string::npos && lower.find("phi3") == std::string::npos) {
    return;
  }
  for (AddedToken& token : added) {
    token.rstrip = token.content != "<unk>" && token.content != "<s>" && token.content != "<|endoftext|>";
  }
}

Result<SentencePieces> MakeSentencePieces(const File& file, const Vocabulary& vocabulary,
                                          std::optional<Token> unknown) {
  ASSIGN_OR_RETURN(const std::vector<double> scores, file.metadata.Numbers("tokenizer.ggml.scores"));
  if (!scores.empty() && scores.size() < vocabulary.texts.size()) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("metadata tokenizer.ggml.scores: {} entries for {} tokens", scores.size(),
                                 vocabulary.texts.size()));
  }
  std::vector<Piece> pieces(vocabulary.texts.size());
  for (size_t i = 0; i < pieces.size(); ++i) {
    const TokenType type = vocabulary.types[i];
    pieces[i].text = std::string(vocabulary.texts[i]);
    pieces[i].score = scores.empty() ? 0.0F : static_cast<float>(scores[i]);
    pieces[i].kind = type == TokenType::kByte                                     ? PieceKind::kByte
                     : type == TokenType::kUnused                                 ? PieceKind::kUnused
                     : type == TokenType::kControl || type == TokenType::kUnknown ? PieceKind::kOther
                                                                                  : PieceKind::kNormal;
  }
  return SentencePieces::Make(std::move(pieces), unknown);
}

Result<void> FillSentencePieces(const File& file, const Vocabulary& vocabulary, const SpecialIds& ids,
                                TokenizerParts& parts) {
  ASSIGN_OR_RETURN(SentencePieces pieces, MakeSentencePieces(file, vocabulary, ids.unknown));
  parts.model = std::make_unique<const SentencePieces>(std::move(pieces));
  ASSIGN_OR_RETURN(const bool space, file.metadata.Flag("tokenizer.ggml.add_space_prefix", true));
  Json normalizers = Json::array();
  if (space) {
    normalizers.push_back({{"type", "Prepend"}, {"prepend", kSpaceMark}});
  }
  normalizers.push_back(ReplaceStage(" ", kSpaceMark));
  parts.normalizer = {{"type", "Sequence"}, {"normalizers", std::move(normalizers)}};
  Json decoders = {ReplaceStage(kSpaceMark, " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}};
  if (space) {
    decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1U}, {"stop", 0U}});
  }
  parts.decoder = {{"type", "Sequence"}, {"decoders", std::move(decoders)}};
  return {};
}

Result<const PreTokenizer*> PreTokenizerOf(const File& file, const VocabularyKind& kind) {
  ASSIGN_OR_RETURN(const std::string name, file.metadata.Text("tokenizer.ggml.pre", "default"));
  return FindPreTokenizer(kind.pre_tokenizer.empty() ? name : kind.pre_tokenizer);
}

Result<void> FillBpe(const File& file, const VocabularyKind& kind, TokenizerDescription& description) {
  ASSIGN_OR_RETURN(const PreTokenizer* const pre_tokenizer, PreTokenizerOf(file, kind));
  if (!file.metadata.Has("tokenizer.ggml.merges")) {
    return MakeError(ErrorCode::kInvalidArgument, "metadata tokenizer.ggml.merges: is missing");
  }
  ASSIGN_OR_RETURN(const auto merges, file.metadata.Texts("tokenizer.ggml.merges"));
  if (merges.size() > kMaxTokens) {
    return MakeError(ErrorCode::kTooLarge,
                     fmt::format("metadata tokenizer.ggml.merges: {} merges; at most {}", merges.size(), kMaxTokens));
  }
  description.ignore_merges = pre_tokenizer->ignore_merges;
  description.byte_fallback = pre_tokenizer->spelling != Spelling::kBytes;
  TokenizerParts& parts = description.parts;
  parts.model = std::make_unique<const Bpe>(
      Bpe::FromLists(description.vocabulary.texts, merges,
                     {.ignore_merges = description.ignore_merges, .byte_fallback = description.byte_fallback}));
  parts.normalizer = NormalizerOf(*pre_tokenizer);
  parts.pre_tokenizer = StageOf(*pre_tokenizer);
  parts.decoder = DecoderOf(*pre_tokenizer);
  return {};
}

Result<void> FillWordPieces(const File& file, const Vocabulary& vocabulary, const SpecialIds& ids,
                            TokenizerParts& parts) {
  parts.model = std::make_unique<const WordPieces>(
      std::vector<std::string>(vocabulary.texts.begin(), vocabulary.texts.end()), ids.unknown);
  ASSIGN_OR_RETURN(const bool lowercase, file.metadata.Flag("tokenizer.ggml.normalizer.lowercase", true));
  ASSIGN_OR_RETURN(const bool strip, file.metadata.Flag("tokenizer.ggml.normalizer.strip_accents", lowercase));
  parts.normalizer = {{"type", "BertNormalizer"}, {"lowercase", lowercase}, {"strip_accents", strip}};
  parts.pre_tokenizer = {{"type", "BertPreTokenizer"}};
  parts.decoder = {{"type", "Metaspace"}};
  return {};
}

Result<void> FillAround(const File& file, const VocabularyKind& kind, const SpecialIds& ids, TokenizerParts& parts) {
  bool add_bos = kind.add_bos;
  bool add_separator = kind.add_separator;
  if (kind.algorithm == Algorithm::kBpe) {
    ASSIGN_OR_RETURN(const PreTokenizer* const pre_tokenizer, PreTokenizerOf(file, kind));
    add_bos = pre_tokenizer->add_bos;
    add_separator = pre_tokenizer->add_separator;
  }
  ASSIGN_OR_RETURN(add_bos, file.metadata.Flag("tokenizer.ggml.add_bos_token", add_bos));
  ASSIGN_OR_RETURN(const bool add_eos, file.metadata.Flag("tokenizer.ggml.add_eos_token", false));
  ASSIGN_OR_RETURN(add_separator, file.metadata.Flag("tokenizer.ggml.add_sep_token", add_separator));
  if (add_bos && ids.bos) {
    parts.before.push_back(*ids.bos);
  }
  if (add_eos && ids.eos) {
    parts.behind.push_back(*ids.eos);
  }
  if (add_separator && ids.separator) {
    parts.behind.push_back(*ids.separator);
  }
  return {};
}

// Texts of tokens that end a turn or a document in some published model; counted where they are control tokens or ones
// that the model's makers have added.
constexpr std::array<std::string_view, 16> kEndTexts = {"<|eot_id|>",
                                                        "<|im_end|>",
                                                        "<|end|>",
                                                        "<|return|>",
                                                        "<|call|>",
                                                        "<end_of_turn>",
                                                        "<|endoftext|>",
                                                        "<|eom_id|>",
                                                        "<EOT>",
                                                        "_<EOT>",
                                                        "[EOT]",
                                                        "[EOS]",
                                                        "<|end_of_text|>",
                                                        "</s>",
                                                        "<end_of_utterance>",
                                                        "<｜end▁of▁sentence｜>"};

Result<std::string> TemplateAt(const File& file, const std::string& key) {
  ASSIGN_OR_RETURN(std::string text, file.metadata.Text(key, ""));
  if (text.size() > kMaxTemplateBytes || !IsValidUtf8(text)) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("metadata {}: is no UTF-8, or longer than {} bytes", key, kMaxTemplateBytes));
  }
  return text;
}

template <typename T>
Result<std::optional<T>> SamplingNumber(const File& file, const char* key) {
  if (!file.metadata.Has(key)) {
    return std::optional<T>();
  }
  ASSIGN_OR_RETURN(const double number, file.metadata.Number(key));
  if (!(number >= -1e9 && number <= 1e9)) {
    return MakeError(ErrorCode::kInvalidArgument, fmt::format("metadata {}: is no number of ordinary size", key));
  }
  return std::optional<T>(static_cast<T>(number));
}

}  // namespace

Result<std::optional<TokenizerDescription>> DescribeTokenizer(const File& file) {
  ASSIGN_OR_RETURN(const VocabularyKind* const kind, KindOf(file));
  if (kind == nullptr) {
    return std::optional<TokenizerDescription>();
  }
  TokenizerDescription description;
  description.algorithm = kind->algorithm;
  ASSIGN_OR_RETURN(description.vocabulary, ReadVocabulary(file));
  const Vocabulary& vocabulary = description.vocabulary;
  ASSIGN_OR_RETURN(const SpecialIds ids, ReadSpecialIds(file, vocabulary.texts.size()));
  description.unknown = ids.unknown;
  TokenizerParts& parts = description.parts;
  parts.added = AddedOf(vocabulary);
  switch (kind->algorithm) {
    case Algorithm::kBpe: TRY(FillBpe(file, *kind, description)); break;
    case Algorithm::kSentencePieces:
      TRY(FillSentencePieces(file, vocabulary, ids, parts));
      StripAfterMarkers(file, parts.added);
      break;
    case Algorithm::kWordPieces: TRY(FillWordPieces(file, vocabulary, ids, parts)); break;
  }
  TRY(FillAround(file, *kind, ids, parts));
  return std::optional<TokenizerDescription>(std::move(description));
}

Result<std::unique_ptr<const Tokenizer>> ReadTokenizer(const File& file) {
  ASSIGN_OR_RETURN(auto description, DescribeTokenizer(file));
  if (!description) {
    return std::unique_ptr<const Tokenizer>();
  }
  return Tokenizer::FromParts(std::move(description->parts));
}

Result<ChatFormat> ReadChatFormat(const File& file) {
  ChatFormat chat;
  ASSIGN_OR_RETURN(chat.template_source, TemplateAt(file, "tokenizer.chat_template"));
  ASSIGN_OR_RETURN(chat.tool_template_source, TemplateAt(file, "tokenizer.chat_template.tool_use"));
  ASSIGN_OR_RETURN(const auto texts, file.metadata.Texts("tokenizer.ggml.tokens"));
  ASSIGN_OR_RETURN(const SpecialIds ids, ReadSpecialIds(file, texts.size()));
  const auto text_of = [&](const std::optional<Token>& id) {
    return id ? std::string(texts[static_cast<size_t>(*id)]) : std::string();
  };
  chat.bos_token = text_of(ids.bos);
  chat.eos_token = text_of(ids.eos);
  chat.unk_token = text_of(ids.unknown);
  chat.pad_token = text_of(ids.padding);
  return chat;
}

Result<GenerationDefaults> ReadGeneration(const File& file) {
  GenerationDefaults generation;
  const auto add = [&](const std::optional<Token>& id) {
    auto& ids = generation.eos_ids;
    if (id && std::find(ids.begin(), ids.end(), *id) == ids.end()) {
      ids.push_back(*id);
    }
  };
  ASSIGN_OR_RETURN(const auto texts, file.metadata.Texts("tokenizer.ggml.tokens"));
  ASSIGN_OR_RETURN(const SpecialIds ids, ReadSpecialIds(file, texts.size()));
  add(ids.eos);
  for (const char* const key : {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
    ASSIGN_OR_RETURN(const auto id, IdAt(file, key, texts.size()));
    add(id);
  }
  if (!texts.empty()) {
    ASSIGN_OR_RETURN(const Vocabulary vocabulary, ReadVocabulary(file));
    for (size_t i = 0; i < texts.size(); ++i) {
      const bool marker = vocabulary.types[i] == TokenType::kControl || vocabulary.types[i] == TokenType::kUserDefined;
      if (marker && std::find(kEndTexts.begin(), kEndTexts.end(), texts[i]) != kEndTexts.end()) {
        add(static_cast<Token>(i));
      }
    }
  }
  ASSIGN_OR_RETURN(generation.temperature, SamplingNumber<float>(file, "general.sampling.temp"));
  ASSIGN_OR_RETURN(generation.top_p, SamplingNumber<float>(file, "general.sampling.top_p"));
  ASSIGN_OR_RETURN(generation.top_k, SamplingNumber<int>(file, "general.sampling.top_k"));
  ASSIGN_OR_RETURN(generation.min_p, SamplingNumber<float>(file, "general.sampling.min_p"));
  ASSIGN_OR_RETURN(generation.repetition_penalty, SamplingNumber<float>(file, "general.sampling.penalty_repeat"));
  return generation;
}

}  // namespace causeway::model::gguf
