// The safetensors format: an 8-byte little-endian header length, a JSON header, then the data. Files are
// untrusted: everything is checked before use, and nothing is copied.
// Format: huggingface.co/docs/safetensors
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/files.h"

namespace causeway::model {

struct Tensor {
  std::string dtype;           // as in the file: "BF16"
  std::vector<int64_t> shape;  // each >= 0; the product fits int64
  std::span<const std::byte> data;

  int64_t elements() const;
};

using TensorMap = std::map<std::string, Tensor, std::less<>>;

// Parses one file. Errors name the tensor and what is wrong: a header beyond the file, unknown dtype,
// overlapping or gapped offsets, a size that is not shape times dtype.
Result<TensorMap> ParseSafetensors(std::span<const std::byte> file);

// All tensors of a model: model.safetensors, or the files that model.safetensors.index.json names. AutoGPTQ calls them
// otherwise: as quantize_config.json says (model_file_base_name), or gptq_model-4bit-128g, after its bits and group.
// Else the only index there is, or the only file, of any name (awq_model_w4_g128.safetensors); several are an error.
Result<TensorMap> LoadTensors(ModelFiles& files);

}  // namespace causeway::model
