// The names of tokenizer.ggml.pre, and how each cuts a text before the merges of byte-level BPE.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"

namespace causeway::model::gguf {

// How the texts of tokens are written.
enum class Spelling : uint8_t {
  kBytes,         // each byte as one of 256 characters, GPT-2's way
  kMarkedSpaces,  // as they are, but for spaces, which are U+2581; what is no token falls into bytes, <0x00> to <0xFF>
  kWords,         // as they are, without the white space, which only separates; bytes as above
};

// One way of cutting, shared by the names that have it. The patterns apply one after the other, each to the parts that
// the ones before left, as the Split stages of the models' own tokenizer.json do.
struct PreTokenizer {
  std::span<const std::string_view> names;
  std::span<const std::string_view> patterns = {};
  bool ignore_merges = false;  // a word that is a token is taken whole
  bool add_bos = false;        // where the file does not say
  bool compose = false;        // the text is brought to Unicode's form C first
  bool add_separator = false;  // behind the text, where the file does not say
  Spelling spelling = Spelling::kBytes;
};

// kUnsupported with the names known.
Result<const PreTokenizer*> FindPreTokenizer(std::string_view name);
std::span<const PreTokenizer> PreTokenizers();

// The stages as tokenizer.json would hold them; null: none.
Json StageOf(const PreTokenizer& pre_tokenizer);
Json NormalizerOf(const PreTokenizer& pre_tokenizer);
Json DecoderOf(const PreTokenizer& pre_tokenizer);

inline constexpr const char* kSpaceMark = "\xE2\x96\x81";  // U+2581
Json ReplaceStage(const char* from, const char* to);       // a normalizer as well as a decoder

}  // namespace causeway::model::gguf
