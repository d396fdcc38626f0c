// The names of tokenizer.ggml.pre, and how each cuts a text before the merges of byte-level BPE.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"

namespace causeway::model::gguf {

// One way of cutting, shared by the names that have it. The patterns apply one after the other, each to the parts that
// the ones before left, as the Split stages of the models' own tokenizer.json do.
struct PreTokenizer {
  std::span<const std::string_view> names;
  std::span<const std::string_view> patterns;
  bool ignore_merges = false;  // a word that is a token is taken whole
  bool add_bos = false;        // where the file does not say
  bool compose = false;        // the text is brought to Unicode's form C first
};

// kUnsupported with the names known.
Result<const PreTokenizer*> FindPreTokenizer(std::string_view name);
std::span<const PreTokenizer> PreTokenizers();

// The stages as tokenizer.json would hold them; null: none.
Json StageOf(const PreTokenizer& pre_tokenizer);
Json NormalizerOf(const PreTokenizer& pre_tokenizer);

}  // namespace causeway::model::gguf
