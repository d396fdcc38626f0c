// LoRA adapters for tests: configurations and tensors as PEFT writes them, of random values.
#pragma once

#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/rng.h"
#include "model/adapter/adapter.h"
#include "tests/support/model_folders.h"

namespace causeway::model {

struct AdapterFiles {
  OrderedJson config = {{"peft_type", "LORA"}, {"r", 4}, {"lora_alpha", 8}, {"bias", "none"}};
  std::map<std::string, std::pair<std::vector<int64_t>, std::vector<float>>> tensors;  // shape, values

  // A term of a module, under PEFT's names.
  void Add(const std::string& module, int64_t rank, int64_t in, int64_t out, uint64_t seed, float scale = 0.2F) {
    const auto random = [&](int64_t count, uint64_t stream) {
      std::vector<float> values(static_cast<size_t>(count));
      for (size_t i = 0; i < values.size(); ++i) {
        values[i] = scale * (2.0F * static_cast<float>(RandomUniform(seed, stream, i)) - 1.0F);
      }
      return values;
    };
    const uint64_t stream = 2 * tensors.size();
    const std::string name = "base_model.model." + module;
    tensors[name + ".lora_A.weight"] = {{rank, in}, random(rank * in, stream)};
    tensors[name + ".lora_B.weight"] = {{out, rank}, random(out * rank, stream + 1)};
  }

  std::string Weights() const {
    Json header = Json::object();
    std::string data;
    for (const auto& [name, tensor] : tensors) {
      const size_t begin = data.size();
      data.append(reinterpret_cast<const char*>(tensor.second.data()), tensor.second.size() * sizeof(float));
      header[name] = {{"dtype", "F32"}, {"shape", tensor.first}, {"data_offsets", {begin, data.size()}}};
    }
    return SafetensorsFile(DumpJson(header), data);
  }

  Result<std::shared_ptr<const Adapter>> Make(const Network& network, const std::string& name = "test",
                                              int64_t max_rank = 64) const {
    const std::string weights = Weights();
    return MakeAdapter(network, {.name = name, .path = "", .max_rank = max_rank}, DumpJson(config),
                       std::as_bytes(std::span(weights)));
  }
};

// An adapter with terms of all modules of a network (but the head, unless asked for).
inline AdapterFiles AdapterOfAll(const Network& network, int64_t rank, uint64_t seed, bool head = false) {
  AdapterFiles files;
  files.config["r"] = rank;
  files.config["target_modules"] = head ? ".*" : "all-linear";
  std::map<std::string, const Projection*> modules;
  for (int64_t layer = 0; layer < std::ssize(network.layers); ++layer) {
    for (int64_t slot = 0; slot < kLayerSlots; ++slot) {
      if (const Projection* const one = ProjectionAt(network, layer, static_cast<Slot>(slot)); one != nullptr) {
        modules[one->module] = one;
      }
    }
  }
  if (head) {
    modules[network.head.module] = &network.head;
  }
  for (const auto& [name, projection] : modules) {
    files.Add(name, rank, projection->weight.columns, projection->module_rows, seed);
  }
  return files;
}

}  // namespace causeway::model
