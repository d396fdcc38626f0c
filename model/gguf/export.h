// The other way than translate.h: a Hugging Face model in the words of a GGUF file. What is written can be read by
// llama.cpp, whose converter (convert_hf_to_gguf.py) decides keys, names of tensors and which rows are reordered.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "model/gguf/architectures.h"
#include "model/gguf/writer.h"
#include "model/model.h"

namespace causeway::model::gguf {

// The row of Architectures() that a family is written as; kUnsupported if none is.
Result<const Architecture*> ArchitectureOf(std::string_view model_type);

// Factors of rope that a file carries as tensors of F32.
struct RopeTensor {
  std::string name;
  std::vector<float> values;
};

// Writes general.architecture and the hyper-parameters. `config` is that of the text model, with its family's defaults;
// `model` is loaded with weights. kUnsupported for what these keys cannot say, by the field's name.
Result<std::vector<RopeTensor>> WriteConfig(const Architecture& architecture, const Json& config, const Model& model,
                                            HeaderWriter& header);

// Writes tokenizer.*: `tokenizer_json` is the parsed file. kUnsupported for a way to split texts that has no name
// there.
Result<void> WriteTokenizer(const Json& tokenizer_json, const Model& model, HeaderWriter& header);

// "blk.3.attn_q.weight" for "model.layers.3.self_attn.q_proj.weight"; empty for names that the file has no place for.
std::string GgufName(const Architecture& architecture, std::string_view hub_name);

// Where the rows of a Q or K of `rows` rows come from: row i of the file is row order[i] of the checkpoint.
std::vector<int64_t> ReorderedRows(int64_t rows, int64_t head_dim);

}  // namespace causeway::model::gguf
