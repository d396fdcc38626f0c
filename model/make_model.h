// Checkpoints of random weights in named shapes, for benchmarks: real sizes, no download.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace causeway::model {

// A Llama of real sizes.
struct ModelShape {
  std::string_view name;
  int64_t hidden, layers, heads, kv_heads, head_dim, inner, vocab, context;

  int64_t Parameters() const;
};
std::span<const ModelShape> ModelShapes();
std::string KnownShapes();  // "tinyllama-1.1b, ..."

// Writes config.json, model.safetensors (BF16) and the built-in model's tokenizer into `folder`, which is
// made if it is not there. Deterministic.
Result<void> MakeModel(std::string_view shape, const std::string& folder, const std::function<void(double)>& progress);
// With matrices in `format` ("q4_0", as registered; "bf16": as above): the blocks' only container is a GGUF file,
// without a tokenizer, `folder`/model.gguf.
Result<void> MakeModel(std::string_view shape, std::string_view format, const std::string& folder,
                       const std::function<void(double)>& progress);
// BF16 in a shape of the caller's own.
Result<void> MakeModel(const ModelShape& shape, const std::string& folder, const std::function<void(double)>& progress);

}  // namespace causeway::model
