#include "model/tokenizer/tokenizer.h"

#include <algorithm>
#include <charconv>
#include <unordered_map>

#include "base/json.h"
#include "fmt/format.h"
#include "model/tokenizer/bpe.h"
#include "model/tokenizer/byte_level.h"
#include "model/tokenizer/post_processor.h"
#include "model/tokenizer/stages.h"
#include "model/tokenizer/utf8.h"

namespace causeway::model {

using tokenizer::AddedSplit;
using tokenizer::AddedTokenFinder;
using tokenizer::Bpe;
using tokenizer::BytesOfText;
using tokenizer::Decoder;
using tokenizer::IsValidUtf8;
using tokenizer::MakeDecoder;
using tokenizer::MakeNormalizer;
using tokenizer::MakePreTokenizer;
using tokenizer::Normalizer;
using tokenizer::PostProcessor;
using tokenizer::PreTokenizer;
using tokenizer::SourcedText;
using tokenizer::SubwordModel;

namespace {

constexpr size_t kMaxAddedTokens = 1 << 20;
constexpr size_t kMaxTokenBytes = 1 << 16;
constexpr Token kMaxId = 1 << 24;
constexpr size_t kMaxTextBytes = (size_t{1} << 31) - 1;  // SourcedText counts in 31 bits

const Json& FieldOrNull(const Json& json, const char* name) {
  static const Json null;
  const auto it = json.find(name);
  return it == json.end() ? null : *it;
}

bool Flag(const Json& json, const char* name) {
  const auto it = json.find(name);
  return it != json.end() && it->is_boolean() && it->get<bool>();
}

Result<AddedToken> ReadAddedToken(const Json& json) {
  const auto bad = [](const char* what) {
    return MakeError(ErrorCode::kInvalidArgument, std::string("added_tokens: ") + what);
  };
  if (!json.is_object() || !FieldOrNull(json, "content").is_string() || !FieldOrNull(json, "id").is_number_integer()) {
    return bad("an entry has no id or no content");
  }
  AddedToken token;
  const auto id = json["id"].get<int64_t>();
  if (id < 0 || id > kMaxId) {
    return bad("an id is out of range");
  }
  token.id = static_cast<Token>(id);
  token.content = json["content"].get<std::string>();
  if (token.content.size() > kMaxTokenBytes) {
    return bad("a content is too long");
  }
  token.special = Flag(json, "special");
  token.normalized = json.contains("normalized") ? Flag(json, "normalized") : !token.special;
  token.single_word = Flag(json, "single_word");
  token.lstrip = Flag(json, "lstrip");
  token.rstrip = Flag(json, "rstrip");
  return token;
}

Result<std::vector<AddedToken>> ReadAddedTokens(const Json& json) {
  std::vector<AddedToken> added;
  const Json& list = FieldOrNull(json, "added_tokens");
  if (list.is_null()) {
    return added;
  }
  if (!list.is_array() || list.size() > kMaxAddedTokens) {
    return MakeError(ErrorCode::kInvalidArgument, "added_tokens is no list, or a huge one");
  }
  for (const Json& entry : list) {
    ASSIGN_OR_RETURN(AddedToken token, ReadAddedToken(entry));
    added.push_back(std::move(token));
  }
  return added;
}

}  // namespace

TokenizerParts::TokenizerParts() = default;
TokenizerParts::~TokenizerParts() = default;
TokenizerParts::TokenizerParts(TokenizerParts&&) noexcept = default;

struct Tokenizer::Impl {
  std::unique_ptr<const SubwordModel> model;
  Normalizer normalize;
  PreTokenizer pre_tokenize;
  PostProcessor post_process;
  Decoder decode;
  std::vector<AddedToken> added;
  std::unordered_map<Token, const AddedToken*> added_by_id;
  AddedTokenFinder raw_finder;
  AddedTokenFinder normalized_finder;
  bool byte_level = false;  // the decoder maps characters back to bytes
  bool byte_fallback = false;

  Result<void> TakeAdded(std::vector<AddedToken> tokens) {
    added = std::move(tokens);
    for (const AddedToken& token : added) {
      added_by_id[token.id] = &token;
      if (!token.normalized || !normalize) {
        (token.normalized ? normalized_finder : raw_finder).Add(token.content, &token);
        continue;
      }
      SourcedText content{token.content, false, {}};
      TRY(normalize(content));
      normalized_finder.Add(content.text, &token);
    }
    return {};
  }

  // Text to ids, without the post-processor.
  Result<void> Encode(const SourcedText& text, bool parse_special, std::vector<Token>& ids) const {
    for (const AddedSplit& raw : raw_finder.Split(text, parse_special)) {
      if (raw.token != nullptr) {
        ids.push_back(raw.token->id);
        continue;
      }
      SourcedText part = text.Slice(raw.begin, raw.end);
      if (normalize) {
        TRY(normalize(part));
      }
      for (const AddedSplit& split : normalized_finder.Split(part, parse_special)) {
        if (split.token != nullptr) {
          ids.push_back(split.token->id);
        } else {
          TRY(EncodePlain(part.Slice(split.begin, split.end), ids));
        }
      }
    }
    return {};
  }

  Result<void> EncodePlain(SourcedText text, std::vector<Token>& ids) const {
    std::vector<SourcedText> words;
    words.push_back(std::move(text));
    if (pre_tokenize) {
      TRY(pre_tokenize(words));
    }
    for (const SourcedText& word : words) {
      model->Encode(word.text, ids);
    }
    return {};
  }

  const std::string* TextOf(Token token) const {
    const auto it = added_by_id.find(token);
    return it != added_by_id.end() ? &it->second->content : model->Text(token);
  }

  // All but the post-processor.
  static Result<std::unique_ptr<Impl>> Make(TokenizerParts parts) {
    auto impl = std::make_unique<Impl>();
    impl->model = std::move(parts.model);
    ASSIGN_OR_RETURN(impl->normalize, MakeNormalizer(parts.normalizer));
    ASSIGN_OR_RETURN(impl->pre_tokenize, MakePreTokenizer(parts.pre_tokenizer));
    ASSIGN_OR_RETURN(impl->decode, MakeDecoder(parts.decoder));
    TRY(impl->TakeAdded(std::move(parts.added)));
    const std::string decoder = DumpJson(parts.decoder);
    impl->byte_level = decoder.find("\"ByteLevel\"") != std::string::npos;
    impl->byte_fallback = decoder.find("\"ByteFallback\"") != std::string::npos;
    return impl;
  }

  // What it adds to every text must be tokens that exist.
  Result<void> CheckPostProcessor() const {
    std::vector<Token> ids;
    post_process.Apply(ids);
    for (const Token id : ids) {
      if (TextOf(id) == nullptr) {
        return MakeError(ErrorCode::kInvalidArgument,
                         fmt::format("post_processor: it adds the id {}, which the vocabulary lacks", id));
      }
    }
    return {};
  }
};

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;

Result<std::unique_ptr<const Tokenizer>> Tokenizer::FromJson(std::string_view tokenizer_json) {
  ASSIGN_OR_RETURN(const Json json, ParseJson(tokenizer_json, {.max_depth = 32, .max_nodes = 20'000'000}));
  if (!json.is_object() || !FieldOrNull(json, "model").is_object()) {
    return MakeError(ErrorCode::kInvalidArgument, "no model object");
  }
  TokenizerParts parts;
  ASSIGN_OR_RETURN(Bpe bpe, Bpe::FromJson(json["model"]));
  parts.model = std::make_unique<const Bpe>(std::move(bpe));
  parts.normalizer = FieldOrNull(json, "normalizer");
  parts.pre_tokenizer = FieldOrNull(json, "pre_tokenizer");
  parts.decoder = FieldOrNull(json, "decoder");
  ASSIGN_OR_RETURN(parts.added, ReadAddedTokens(json));
  ASSIGN_OR_RETURN(auto impl, Impl::Make(std::move(parts)));
  ASSIGN_OR_RETURN(impl->post_process, PostProcessor::FromJson(FieldOrNull(json, "post_processor")));
  TRY(impl->CheckPostProcessor());
  return std::unique_ptr<const Tokenizer>(new Tokenizer(std::move(impl)));  // NOLINT: private constructor
}

Result<std::unique_ptr<const Tokenizer>> Tokenizer::FromParts(TokenizerParts parts) {
  PostProcessor post_process(std::move(parts.before), std::move(parts.behind));
  ASSIGN_OR_RETURN(auto impl, Impl::Make(std::move(parts)));
  impl->post_process = std::move(post_process);
  TRY(impl->CheckPostProcessor());
  return std::unique_ptr<const Tokenizer>(new Tokenizer(std::move(impl)));  // NOLINT: private constructor
}

Result<std::vector<Token>> Tokenizer::Encode(std::string_view text, const EncodeOptions& options) const {
  const Piece piece{std::string(text), true};
  if (!IsValidUtf8(text)) {
    return MakeError(ErrorCode::kInvalidArgument, "the text is not valid UTF-8");
  }
  if (options.parse_special) {
    return EncodePieces({&piece, 1}, options.add_special_tokens);
  }
  const Piece untrusted{piece.text, false};
  return EncodePieces({&untrusted, 1}, options.add_special_tokens);
}

Result<std::vector<Token>> Tokenizer::EncodePieces(std::span<const Piece> pieces, bool add_special_tokens) const {
  SourcedText text;
  text.tracked = true;
  for (const Piece& piece : pieces) {
    if (!IsValidUtf8(piece.text)) {
      return MakeError(ErrorCode::kInvalidArgument, "the text is not valid UTF-8");
    }
    if (piece.text.size() > kMaxTextBytes - text.text.size()) {
      return MakeError(ErrorCode::kTooLarge, "the text is longer than 2 GiB");
    }
    for (size_t i = 0; i < piece.text.size(); ++i) {
      const auto offset = static_cast<uint32_t>(text.source.size());
      text.source.push_back(piece.trusted ? offset : offset | SourcedText::kUntrusted);
    }
    text.text += piece.text;
  }
  std::vector<Token> ids;
  TRY(impl_->Encode(text, true, ids));
  if (add_special_tokens) {
    impl_->post_process.Apply(ids);
  }
  return ids;
}

std::string Tokenizer::Decode(std::span<const Token> tokens, bool skip_special_tokens) const {
  std::vector<std::string> texts;
  for (const Token token : tokens) {
    const std::string* const text = impl_->TextOf(token);
    if (text != nullptr && !(skip_special_tokens && IsSpecial(token))) {
      texts.push_back(*text);
    }
  }
  if (impl_->decode) {
    impl_->decode(texts);
  }
  std::string all;
  for (size_t i = 0; i < texts.size(); ++i) {
    all += texts[i];
    if (!impl_->decode && i + 1 < texts.size()) {
      all += ' ';  // without a decoder the reference library separates tokens by spaces
    }
  }
  return all;
}

std::string Tokenizer::TokenText(Token token) const {
  const std::string* const text = impl_->TextOf(token);
  if (text == nullptr) {
    return {};
  }
  if (impl_->added_by_id.contains(token)) {
    return *text;
  }
  if (impl_->byte_level) {
    return BytesOfText(*text).value_or(*text);
  }
  if (impl_->byte_fallback && text->size() == 6 && text->starts_with("<0x")) {
    uint8_t byte = 0;
    const auto end = std::from_chars(text->data() + 3, text->data() + 5, byte, 16).ptr;
    if (end == text->data() + 5) {
      return std::string(1, static_cast<char>(byte));
    }
  }
  std::string out;
  for (size_t at = 0; at < text->size();) {
    if (text->compare(at, 3, "\xE2\x96\x81") == 0) {
      out += ' ';
      at += 3;
    } else {
      out += (*text)[at++];
    }
  }
  return out;
}

std::optional<Token> Tokenizer::TokenId(std::string_view content) const {
  for (const AddedToken& token : impl_->added) {
    if (token.content == content) {
      return token.id;
    }
  }
  return impl_->model->Id(content);
}

bool Tokenizer::IsSpecial(Token token) const {
  const auto it = impl_->added_by_id.find(token);
  return it != impl_->added_by_id.end() && it->second->special;
}

bool Tokenizer::IsKnown(Token token) const { return impl_->TextOf(token) != nullptr; }

size_t Tokenizer::vocab_size() const {
  Token highest = impl_->model->max_id();
  for (const AddedToken& token : impl_->added) {
    highest = std::max(highest, token.id);
  }
  return static_cast<size_t>(highest) + 1;
}

std::span<const AddedToken> Tokenizer::added_tokens() const { return impl_->added; }

}  // namespace causeway::model
