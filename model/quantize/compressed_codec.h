// compressed-tensors' schemes, as data: what its config_groups say of a format, and the codec that stores it.
// Source: compressed-tensors' compressors and quantization arguments; names as llm-compressor's presets.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "base/json.h"
#include "model/quantize/codec.h"

namespace causeway::model::quantize {

enum class SchemeKind : uint8_t { kPacked, kInt8, kE4M3, kNvfp4, kMxfp4 };

struct CompressedScheme {
  std::string_view name;    // "w4a16"
  std::string_view format;  // "pack-quantized"
  SchemeKind kind;
  int bits;
  bool symmetric;
  int64_t group;       // columns that share a scale; 0: the row
  bool rounds_inputs;  // to 8 bits, each token by its own scale
};

std::span<const CompressedScheme> CompressedSchemes();
const CompressedScheme* FindScheme(std::string_view name);

// `scale_dtype`: BF16, F16 or F32, of the model.
std::unique_ptr<Codec> MakeCompressedCodec(const CompressedScheme& scheme, std::string_view scale_dtype);
// The group of config_groups, without targets.
Json GroupOf(const CompressedScheme& scheme, bool act_order);

}  // namespace causeway::model::quantize
