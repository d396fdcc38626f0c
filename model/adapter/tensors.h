// The tensors of adapter_model.safetensors by the module that they are for.
#pragma once

#include <map>
#include <set>
#include <string>

#include "base/result.h"
#include "model/safetensors.h"

namespace causeway::model::adapter {

struct Pair {
  const Tensor* a = nullptr;  // [rank, in]
  const Tensor* b = nullptr;  // [out, rank]
};

struct Tensors {
  std::map<std::string, Pair> pairs;
  std::set<std::string> beside;  // modules of a wrapper beside its text model: their terms change no text
  const Tensor* head = nullptr;  // a copy of the base's: PEFT adds it where the head is a target
};

// By module as its trainer named it ("model.layers.0.self_attn.q_proj"). Names are PEFT's:
// base_model.model.MODULE.lora_A.weight, or lora_A.ADAPTER.weight. A tensor that is no matrix of a term, or that
// lacks its partner, is an error. `tensors` outlives the result.
Result<Tensors> PairTensors(const TensorMap& tensors);

}  // namespace causeway::model::adapter
