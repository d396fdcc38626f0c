// The names that --format takes, and what each makes of a model's tensors: one type for all matrices, or a mixture that
// gives more bits to those that suffer most.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "kernels/quant/format.h"
#include "model/quantize/compressed_codec.h"
#include "model/quantize/source.h"

namespace causeway::model::quantize {

// What a mixture asks about a tensor of a GGUF file.
struct TensorPlace {
  std::string_view name;  // "blk.3.ffn_down.weight"
  int64_t layer = 0;
  int64_t layers = 1;
  bool is_head = false;     // the output, or the embedding that stands for it
  int64_t group_query = 1;  // query heads that share a key head
};

struct Recipe {
  std::string_view name;
  Container container = Container::kGguf;
  kernels::FormatId base = kernels::FormatId::kF32;  // of GGUF
  int file_type = 0;                                 // general.file_type, as llama.cpp numbers them
  // The type of a tensor that is to have another than `base`; null: none is. Source: llama.cpp's llama-quant.cpp.
  std::optional<kernels::FormatId> (*mix)(const TensorPlace& place) = nullptr;
  const CompressedScheme* scheme = nullptr;  // of compressed-tensors
};

// By name, case aside; kInvalidArgument with the names known.
Result<Recipe> FindRecipe(std::string_view name);
// "q8_0, ...; w4a16, ..."
std::string KnownRecipes();

// One format for one tensor: a GGUF type or a scheme; floats ("f32", "f16", "bf16") in either container.
struct TensorFormat {
  std::optional<kernels::FormatId> type;
  const CompressedScheme* scheme = nullptr;
};
Result<TensorFormat> FindTensorFormat(std::string_view name, Container container);

// Where rows are no whole blocks of `type`: the type that llama.cpp takes then.
kernels::FormatId FittingType(kernels::FormatId type, int64_t columns);

}  // namespace causeway::model::quantize
