// The stages before the merges, as tokenizer.json lists them: normalizers rewrite a text, pre-tokenizers
// cut it into words. A stage is a function built from its JSON object by a row of a table; an unknown type
// names the types known.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "model/tokenizer/sourced_text.h"

namespace causeway::model::tokenizer {

using Normalizer = std::function<Result<void>(SourcedText& text)>;
// Replaces `words` by their parts; empty parts are dropped.
using PreTokenizer = std::function<Result<void>(std::vector<SourcedText>& words)>;
// Rewrites the list of token texts; what is left is joined.
using Decoder = std::function<void(std::vector<std::string>& tokens)>;

// Null or absent JSON gives an empty function.
Result<Normalizer> MakeNormalizer(const Json& json);
Result<PreTokenizer> MakePreTokenizer(const Json& json);
Result<Decoder> MakeDecoder(const Json& json);

inline constexpr int kMaxStageDepth = 8;  // of Sequences inside Sequences

}  // namespace causeway::model::tokenizer
