// Quantized Hugging Face checkpoints, loaded as published: config.json's quantization_config names the dialect, a row
// of the registry in reader.cc reads it.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"
#include "model/checkpoint.h"
#include "model/files.h"
#include "model/quant/rows.h"

namespace causeway::model::quant {

// config.json of a folder. Where it does not speak of quantization and an older writer's own file does
// (quantize_config.json of AutoGPTQ, quant_config.json of AutoAWQ, hf_quant_config.json of ModelOpt), that is its
// quantization_config.
Result<Json> ReadModelConfig(ModelFiles& files);

// The quantization_config (or older compression_config) of a config.json or of its text model; null if it has none.
const Json* FindQuantization(const Json& config);

// Turns the quantized tensors of `checkpoint` into rows of registered formats, as "<module>.weight" of [out, in]; the
// others stay as they are, so that modules that were left alone need no list. Errors name the field or the tensor:
// kUnsupported for dialects and options that are not served, kInvalidArgument for tensors that are missing or of wrong
// type or shape. Rows written later are in checkpoint.late, and read what is in checkpoint.owned and the files.
Result<void> Translate(const Json& quantization, Checkpoint& checkpoint, const Progress& progress,
                       RowsWritten when = RowsWritten::kNow);

// Of a folder without a quantization_config: kInvalidArgument, with its name, for a tensor that only quantized ones
// have.
Result<void> CheckNotQuantized(const TensorMap& tensors);

// "gptq, awq, ...": the names in quant_method that are served.
std::string KnownMethods();

// What readers share: a module's e4m3 weight without its scales; all modules' whose weight_scale is one for the tensor
// or for each row; e2m1 codes, the low half of a byte first, with the fine scales of `code` and a scale of one for the
// whole; int8 codes plus 128, values [begin, end); the two sizes that a tensor holds.
Result<CodedMatrix> TakeE4M3(const std::string& module, TensorSource& source);
Result<void> PutWholes(TensorSource& source);
Result<CodedMatrix> TakeE2M1(kernels::GroupCode code, const std::string& codes, const std::string& scales,
                             TensorSource& source);
void ReadSigned(std::span<const std::byte> data, int64_t begin, int64_t end, uint8_t* codes);
Result<std::pair<int64_t, int64_t>> ShapeIn(const std::string& name, const Tensor& tensor);

// The readers, each in a file of its own. `settings` is the quantization_config.
Result<void> ReadGptq(const Config& settings, TensorSource& source);
Result<void> ReadAwq(const Config& settings, TensorSource& source);
Result<void> ReadCompressedTensors(const Config& settings, TensorSource& source);
Result<void> ReadBitsAndBytes(const Config& settings, TensorSource& source);
Result<void> ReadSpqr(const Config& settings, TensorSource& source);
Result<void> ReadFp8(const Config& settings, TensorSource& source);
Result<void> ReadModelOpt(const Config& settings, TensorSource& source);

}  // namespace causeway::model::quant
