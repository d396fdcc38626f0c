// The files beside the weights of a Hugging Face folder, made of what a GGUF file says. Their readers are the
// transformers library and its relatives, which decide what fields are called.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "model/checkpoint.h"
#include "model/gguf/reader.h"
#include "model/model.h"

namespace causeway::model::gguf {

// config.json of a file that was translated into `checkpoint`. kUnsupported for what its fields cannot say: factors of
// rope that are not those of llama3's scaling, biases on some of a block's matrices only.
Result<Json> HubConfig(const File& file, const Checkpoint& checkpoint, const Model& model);

// tokenizer_config.json: special tokens and chat templates.
Json HubTokenizerConfig(const Model& model);
// generation_config.json: end tokens and defaults of sampling.
Json HubGeneration(const Model& model);

// tokenizer.json; null where the file has no tokenizer. SentencePiece's scores become the merges that they stand for,
// as in the transformers library's own conversion. kUnsupported for WordPiece; other errors are ReadTokenizer's.
Result<Json> HubTokenizer(const File& file);

// The fields of llama3's scaling that gives these divisors of theta^(-2 i / dimensions), one for each i; none if there
// are no such fields. They are not unique: only the ratios of low and high to the original length count, so low is 1.
std::optional<Json> FindLlama3Scaling(const std::vector<double>& factors, double theta, int64_t dimensions);

}  // namespace causeway::model::gguf
