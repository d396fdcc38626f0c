// Token types, scores and the names of ways to split follow llama.cpp's converter. Where SentencePiece's scores are not
// in tokenizer.json, the ranks of its merges are: a better merge has a greater score, which is all that counts.
#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "model/config.h"
#include "model/gguf/export.h"
#include "model/gguf/pre_tokenizers.h"
#include "model/network.h"
#include "model/tokenizer/tokenizer.h"

namespace causeway::model::gguf {
namespace {

constexpr int32_t kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6;

Error Unsupported(std::string what) { return MakeError(ErrorCode::kUnsupported, std::move(what)); }

// A member by name; null if it is absent.
const Json& Member(const Json& json, const char* name) {
  static const Json none;
  const auto it = json.is_object() ? json.find(name) : json.end();
  return it == json.end() ? none : *it;
}

std::string TypeOf(const Json& stage) {
  const Json& type = Member(stage, "type");
  return type.is_string() ? type.get<std::string>() : std::string();
}

// The stages of a sequence, or the one stage that stands alone.
std::vector<const Json*> StagesOf(const Json& stage, const char* list) {
  std::vector<const Json*> stages;
  if (TypeOf(stage) == "Sequence") {
    for (const Json& one : Member(stage, list)) {
      stages.push_back(&one);
    }
  } else if (stage.is_object()) {
    stages.push_back(&stage);
  }
  return stages;
}

// ---- The vocabulary ----------------------------------------------------------------------------------

struct Lists {
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
};

Result<Lists> MakeLists(const Json& tokenizer, int64_t vocab) {
  Lists lists;
  for (int64_t i = 0; i < vocab; ++i) {
    lists.tokens.push_back(fmt::format("[PAD{}]", i));
  }
  lists.types.assign(lists.tokens.size(), kUnused);
  const auto put = [&](const Json& id, const std::string& text, int32_t type) -> Result<void> {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= vocab) {
      return MakeError(ErrorCode::kInvalidArgument,
                       fmt::format("tokenizer.json: token '{}' has no row in the embedding of {}", text, vocab));
    }
    lists.tokens[id.get<size_t>()] = text;
    lists.types[id.get<size_t>()] = type;
    return {};
  };
  for (const auto& [text, id] : Member(Member(tokenizer, "model"), "vocab").items()) {
    TRY(put(id, text, kNormal));
  }
  for (const Json& added : Member(tokenizer, "added_tokens")) {
    const Json& content = Member(added, "content");
    const Json& special = Member(added, "special");
    if (!content.is_string()) {
      return MakeError(ErrorCode::kInvalidArgument, "tokenizer.json: an added token without its content");
    }
    const bool control = special.is_boolean() && special.get<bool>();
    TRY(put(Member(added, "id"), content.get<std::string>(), control ? kControl : kUserDefined));
  }
  return lists;
}

// "left right" in both spellings of the file.
Result<std::vector<std::string>> MergesOf(const Json& tokenizer) {
  std::vector<std::string> merges;
  for (const Json& merge : Member(Member(tokenizer, "model"), "merges")) {
    if (merge.is_string()) {
      merges.push_back(merge.get<std::string>());
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
    } else {
      return MakeError(ErrorCode::kInvalidArgument, "tokenizer.json: a merge is no pair of tokens");
    }
  }
  return merges;
}

// ---- Byte-level --------------------------------------------------------------------------------------

// The patterns that a text is cut by, one after the other; nothing for a stage that has none.
std::optional<std::vector<std::string>> PatternsOf(const Json& pre_tokenizer) {
  constexpr const char* kDigit = R"(\p{N})";
  std::vector<std::string> patterns;
  for (const Json* const stage : StagesOf(pre_tokenizer, "pretokenizers")) {
    const std::string type = TypeOf(*stage);
    const Json& pattern = Member(Member(*stage, "pattern"), "Regex");
    if (type == "Split" && pattern.is_string() && Member(*stage, "behavior") == "Isolated" &&
        Member(*stage, "invert") != true) {
      patterns.push_back(pattern.get<std::string>());
    } else if (type == "Digits" && Member(*stage, "individual_digits") == true) {
      patterns.emplace_back(kDigit);
    } else if (type == "ByteLevel" && Member(*stage, "add_prefix_space") != true) {
      if (Member(*stage, "use_regex") != false) {
        const auto gpt2 = FindPreTokenizer("gpt-2");
        CHECK(gpt2.ok());
        patterns.emplace_back((*gpt2)->patterns.front());
      }
    } else {
      return std::nullopt;
    }
  }
  return patterns;
}

Result<std::string> PreTokenizerName(const Json& tokenizer) {
  const auto patterns = PatternsOf(Member(tokenizer, "pre_tokenizer"));
  const bool ignore_merges = Member(Member(tokenizer, "model"), "ignore_merges") == true;
  const std::string normalizer = TypeOf(Member(tokenizer, "normalizer"));
  for (const PreTokenizer& row : PreTokenizers()) {
    const bool same =
        patterns && std::equal(row.patterns.begin(), row.patterns.end(), patterns->begin(), patterns->end(),
                               [](std::string_view a, const std::string& b) { return a == b; });
    if (same && row.ignore_merges == ignore_merges && normalizer == (row.compose ? "NFC" : "")) {
      // llama.cpp's own name of Llama 3's.
      const bool llama3 = std::find(row.names.begin(), row.names.end(), "llama-bpe") != row.names.end();
      return llama3 ? std::string("llama-bpe") : std::string(row.names.front());
    }
  }
  return Unsupported("the tokenizer splits texts in a way that has no name in GGUF files");
}

Result<void> WriteByteLevel(const Json& tokenizer, HeaderWriter& header) {
  ASSIGN_OR_RETURN(const std::string name, PreTokenizerName(tokenizer));
  ASSIGN_OR_RETURN(const auto merges, MergesOf(tokenizer));
  header.Text("tokenizer.ggml.model", "gpt2");
  header.Text("tokenizer.ggml.pre", name);
  header.Texts("tokenizer.ggml.merges", merges);
  return {};
}

// ---- SentencePiece -----------------------------------------------------------------------------------

// Whether a space goes before a text: by a normalizer, or in newer files by the splitter.
bool AddsSpace(const Json& tokenizer) {
  for (const Json* const stage : StagesOf(Member(tokenizer, "normalizer"), "normalizers")) {
    if (TypeOf(*stage) == "Prepend") {
      return true;
    }
  }
  for (const Json* const stage : StagesOf(Member(tokenizer, "pre_tokenizer"), "pretokenizers")) {
    if (TypeOf(*stage) == "Metaspace") {
      return Member(*stage, "prepend_scheme") != "never" && Member(*stage, "add_prefix_space") != false;
    }
  }
  return false;
}

Result<void> WriteSentencePieces(const Json& tokenizer, Lists& lists, HeaderWriter& header) {
  ASSIGN_OR_RETURN(const auto merges, MergesOf(tokenizer));
  const Json& vocab = Member(Member(tokenizer, "model"), "vocab");
  const auto worst = -static_cast<float>(merges.size()) - 1;
  std::vector<float> scores(lists.tokens.size(), worst);
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    std::string piece = merges[rank];
    piece.erase(piece.find(' '), 1);
    const auto id = vocab.find(piece);
    if (id != vocab.end()) {  // in range: MakeLists has seen it
      float& score = scores[id->get<size_t>()];
      score = std::max(score, -static_cast<float>(rank));
    }
  }
  const Json& unknown = Member(Member(tokenizer, "model"), "unk_token");
  for (size_t i = 0; i < lists.tokens.size(); ++i) {
    const std::string& text = lists.tokens[i];
    if (text.size() == 6 && text.starts_with("<0x") && text.back() == '>') {
      lists.types[i] = kByte;
    } else if (unknown.is_string() && text == unknown.get<std::string>()) {
      lists.types[i] = kUnknown;
      header.Size("tokenizer.ggml.unknown_token_id", static_cast<int64_t>(i));
    }
    scores[i] = lists.types[i] == kNormal ? scores[i] : 0.0F;
  }
  header.Text("tokenizer.ggml.model", "llama");
  header.Text("tokenizer.ggml.pre", "default");
  header.Numbers("tokenizer.ggml.scores", scores);
  header.Flag("tokenizer.ggml.add_space_prefix", AddsSpace(tokenizer));
  return {};
}

// ---- Around ------------------------------------------------------------------------------------------

// What the post-processor puts around a text, and which tokens begin and end one. A file without tokenizer_config.json
// names none; then those that are added are they.
struct Around {
  std::optional<Token> bos, eos;
  bool adds_bos = false;
  bool adds_eos = false;
};
Result<Around> AroundOf(const Model& model) {
  const Tokenizer& tokenizer = *model.tokenizer;
  Around around{tokenizer.TokenId(model.chat.bos_token), tokenizer.TokenId(model.chat.eos_token)};
  ASSIGN_OR_RETURN(std::vector<Token> added, tokenizer.Encode("", {}));
  if (!added.empty() && (!around.bos || added.front() == *around.bos) && added.front() != around.eos) {
    around.bos = added.front();
    around.adds_bos = true;
    added.erase(added.begin());
  }
  if (!added.empty() && (!around.eos || added.back() == *around.eos)) {
    around.eos = added.back();
    around.adds_eos = true;
    added.pop_back();
  }
  if (!added.empty()) {
    return Unsupported("the tokenizer adds special tokens other than bos and eos, which GGUF cannot say");
  }
  return around;
}

Result<void> WriteSpecialTokens(const Model& model, HeaderWriter& header) {
  ASSIGN_OR_RETURN(const Around around, AroundOf(model));
  const auto padding = model.tokenizer->TokenId(model.chat.pad_token);
  if (around.bos) {
    header.Size("tokenizer.ggml.bos_token_id", *around.bos);
  }
  std::vector<Token> ends = model.generation.eos_ids;
  if (around.eos) {
    std::erase(ends, *around.eos);
    ends.insert(ends.begin(), *around.eos);
  }
  constexpr const char* kEndKeys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                      "tokenizer.ggml.eom_token_id"};
  for (size_t i = 0; i < std::min(ends.size(), std::size(kEndKeys)); ++i) {
    header.Size(kEndKeys[i], ends[i]);
  }
  if (padding) {
    header.Size("tokenizer.ggml.padding_token_id", *padding);
  }
  header.Flag("tokenizer.ggml.add_bos_token", around.adds_bos);
  header.Flag("tokenizer.ggml.add_eos_token", around.adds_eos);
  return {};
}

void WriteDefaults(const Model& model, HeaderWriter& header) {
  if (!model.chat.template_source.empty()) {
    header.Text("tokenizer.chat_template", model.chat.template_source);
  }
  if (!model.chat.tool_template_source.empty()) {
    header.Texts("tokenizer.chat_templates", std::vector<std::string>{"tool_use"});
    header.Text("tokenizer.chat_template.tool_use", model.chat.tool_template_source);
  }
  const auto number = [&](const char* key, const auto& value) {
    if (value) {
      header.Number(key, static_cast<double>(*value));
    }
  };
  number("general.sampling.temp", model.generation.temperature);
  number("general.sampling.top_p", model.generation.top_p);
  number("general.sampling.min_p", model.generation.min_p);
  number("general.sampling.penalty_repeat", model.generation.repetition_penalty);
  if (model.generation.top_k && *model.generation.top_k >= 0) {
    header.Int("general.sampling.top_k", *model.generation.top_k);
  }
}

}  // namespace

Result<void> WriteTokenizer(const Json& tokenizer_json, const Model& model, HeaderWriter& header) {
  CHECK(model.tokenizer != nullptr && model.network != nullptr);
  if (TypeOf(Member(tokenizer_json, "model")) != "BPE") {
    return Unsupported("only BPE tokenizers can be written to GGUF files");
  }
  ASSIGN_OR_RETURN(Lists lists, MakeLists(tokenizer_json, model.network->vocab));
  const bool sentence_pieces = Member(Member(tokenizer_json, "model"), "byte_fallback") == true;
  TRY(sentence_pieces ? WriteSentencePieces(tokenizer_json, lists, header) : WriteByteLevel(tokenizer_json, header));
  header.Texts("tokenizer.ggml.tokens", lists.tokens);
  header.Ints("tokenizer.ggml.token_type", lists.types);
  TRY(WriteSpecialTokens(model, header));
  WriteDefaults(model, header);
  return {};
}

}  // namespace causeway::model::gguf
