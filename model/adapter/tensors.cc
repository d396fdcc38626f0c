#include "model/adapter/tensors.h"

#include <algorithm>
#include <string_view>

#include "fmt/format.h"
#include "model/checkpoint.h"

namespace causeway::model::adapter {
namespace {

constexpr std::string_view kPrefix = "base_model.model.";
constexpr std::string_view kHeadCopy = ".lm_head.base_layer.weight";

struct Unserveable {
  std::string_view part;
  const char* what;
};
constexpr Unserveable kUnserved[] = {
    {"lora_embedding_", "terms of embeddings are not served"},
    {"embed_tokens.base_layer.", "terms of embeddings are not served"},  // PEFT saves the base beside them
    {"wte.base_layer.", "terms of embeddings are not served"},
    {"embed_tokens.weight", "embeddings saved whole (save_embedding_layers) are not served"},
    {"wte.weight", "embeddings saved whole (save_embedding_layers) are not served"},
    {"lora_magnitude_vector", "DoRA adapters are not served"},
    {"modules_to_save", "modules trained whole (modules_to_save) are not served"},
    {"token_adapter", "trained tokens are not served"},
};

// Where a tensor belongs; `matrix` is 'A' or 'B', 0 for one that belongs nowhere.
struct Place {
  std::string module;
  char matrix = 0;
};

Place PlaceOf(std::string_view name) {
  if (name.starts_with(kPrefix)) {
    name.remove_prefix(kPrefix.size());
  }
  for (const char matrix : {'A', 'B'}) {
    const std::string infix = fmt::format(".lora_{}.", matrix);
    const size_t at = name.rfind(infix);
    if (at == std::string_view::npos || at == 0) {
      continue;
    }
    const std::string_view rest = name.substr(at + infix.size());  // "weight", or an adapter's name before it
    const size_t dot = rest.find('.');
    if (rest == "weight" || (dot != std::string_view::npos && dot > 0 && rest.substr(dot + 1) == "weight")) {
      return {std::string(name.substr(0, at)), matrix};
    }
  }
  return {};
}

Result<void> Refuse(const std::string& name) {
  for (const Unserveable& one : kUnserved) {
    if (name.find(one.part) != std::string::npos) {
      return MakeError(ErrorCode::kUnsupported, fmt::format("tensor {}: {}", name, one.what));
    }
  }
  return MakeError(ErrorCode::kInvalidArgument, fmt::format("tensor {} is no part of a LoRA term", name));
}

}  // namespace

Result<Tensors> PairTensors(const TensorMap& tensors) {
  Tensors out;
  std::map<std::string, Pair>& pairs = out.pairs;
  for (const auto& [name, tensor] : tensors) {
    if (name.ends_with(kHeadCopy) && out.head == nullptr) {
      out.head = &tensor;
      continue;
    }
    const Place place = PlaceOf(name);
    if (place.matrix == 0) {
      TRY(Refuse(name));
    }
    if (std::any_of(std::begin(kBesideText), std::end(kBesideText),
                    [&](std::string_view prefix) { return place.module.starts_with(prefix); })) {
      out.beside.insert(place.module);
      continue;
    }
    Pair& pair = pairs[place.module];
    const Tensor*& slot = place.matrix == 'A' ? pair.a : pair.b;
    if (slot != nullptr) {
      return MakeError(ErrorCode::kInvalidArgument,
                       fmt::format("tensor {}: there is another lora_{} of this module", name, place.matrix));
    }
    slot = &tensor;
  }
  for (const auto& [module, pair] : pairs) {
    if (pair.a == nullptr || pair.b == nullptr) {
      return MakeError(ErrorCode::kInvalidArgument,
                       fmt::format("module {} has no lora_{}", module, pair.a == nullptr ? 'A' : 'B'));
    }
  }
  return out;
}

}  // namespace causeway::model::adapter
