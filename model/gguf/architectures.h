// The architectures that GGUF files name, and what each means in terms of a family that is served.
#pragma once

#include <span>
#include <string_view>

#include "base/json.h"
#include "base/result.h"
#include "model/gguf/metadata.h"
#include "model/gguf/reader.h"

namespace causeway::model::gguf {

// The name of a tensor, or of one of a layer's ("attn_q" for "blk.3.attn_q.weight"), on either side.
struct TensorName {
  std::string_view gguf;
  std::string_view hub;
};

struct Architecture {
  std::string_view name;        // general.architecture; in front of its keys too
  std::string_view model_type;  // row of model/arch/registry.cc
  std::string_view hub_class;   // of the transformers library, in config.json's `architectures`
  bool reordered_qk = false;    // rows of each Q and K head alternate between its halves
  std::string_view layer_prefix = "model.layers.";
  std::span<const TensorName> own_names = {};  // before those that all share
  // Adds the fields of its own to `config`; common sizes are in it already.
  Result<void> (*fill)(const File& file, Json& config) = nullptr;
};

std::span<const Architecture> Architectures();
// Names that all architectures share, but where own_names has another.
std::span<const TensorName> SharedNames();

// Reads "<architecture>.<key>" of a file's metadata.
std::string KeyOf(const File& file, std::string_view key);

// The scaling object for config.json; null if there is none. Consumes the tensors that hold factors: they are numbers
// of the rope, not weights.
Result<Json> RopeScaling(const File& file);
bool IsRopeTensor(std::string_view name);

}  // namespace causeway::model::gguf
