// A model, loaded: what main, the front ends and the commands see. Everything is const after loading and
// safe from any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "base/token.h"
#include "memory/kv_geometry.h"
#include "memory/tier/file_ops.h"
#include "model/packed_weights.h"

namespace causeway::model {

class Tokenizer;  // model/tokenizer/tokenizer.h
struct Network;   // model/network.h: block descriptors bound to weights

// What generation_config.json suggests; a request, a flag or a configuration file overrides it.
struct GenerationDefaults {
  std::optional<float> temperature;
  std::optional<float> top_p;
  std::optional<int> top_k;
  std::optional<float> min_p;
  std::optional<float> repetition_penalty;
  std::vector<Token> eos_ids;  // of config.json and generation_config.json together, without duplicates
};

// The chat template and the special tokens that it may print.
struct ChatFormat {
  std::string template_source;       // empty: the model has none
  std::string tool_template_source;  // for conversations with tools; empty: the same one
  std::string bos_token;
  std::string eos_token;
  std::string pad_token;
  std::string unk_token;
};

struct ModelInfo {
  std::string name;          // as given: "fable", "org/name" or the folder's name
  std::string path;          // where it lies: a folder or a GGUF file; empty for the built-in model
  std::string family;        // row of model/arch: "llama", "gemma3", ...
  std::string weight_dtype;  // of most bytes: "bf16"
  int64_t vocab = 0;
  int64_t context_length = 0;  // from the configuration
  int64_t parameters = 0;
  int64_t weight_bytes = 0;  // in the files
  int64_t packed_bytes = 0;  // of weights repacked for int8 activations; 0: activations are float32 throughout
  PackReport pack;           // how they were
  int64_t created = 0;       // unix seconds, for /v1/models
};

class Model {
 public:
  Model();
  ~Model();

  ModelInfo info;
  GenerationDefaults generation;
  ChatFormat chat;
  std::unique_ptr<const Tokenizer> tokenizer;  // null where the folder has none (token ids only)
  std::unique_ptr<const Network> network;      // null if loaded with weights = false

  // Shape of the KV cache for elements of `element_bytes`.
  memory::KvShape KvShape(int64_t element_bytes) const;
  // Sequences whose length limit is above this have other keys than those below (longrope); 0: all have the same.
  int64_t KvSwitchLength() const;
};

struct LoadOptions {
  // Empty or "fable": built in; a folder; a GGUF file (any of its set); or org/name in the Hugging Face cache.
  std::string model;
  bool weights = true;  // false: configuration, tokenizer and template only (Network without data)
  // Called while loading with a fraction in [0, 1] and what is being done.
  std::function<void(double, std::string_view)> progress;
  // Hugging Face cache roots in the order to try (server/config resolves HF_HUB_CACHE, HF_HOME,
  // HF_HUB_OFFLINE); folders `models--org--name/snapshots/<revision>` lie below.
  std::vector<std::string> hub_caches;
  bool round_inputs = true;  // where the checkpoint asks for inputs in 8 bits; false: floats
  // Given, int8 activations: weights in formats that kernels multiply as integers (kernels/packed.h) are repacked on
  // this pool, which is not used afterwards. Null: activations are float32 and weights stay as they lie.
  ThreadPool* pack_on = nullptr;
  // Folder in which repacked weights are kept between starts (model/repack_cache.h); needs pack_on. Empty: none.
  std::string repack_cache = {};
  memory::FileOps* file_ops = nullptr;  // of the cache; null: the system's
};

// Loads and checks a model: every tensor of the files is consumed or named in the error; shapes, offsets
// and sizes are checked before use. Weights stay in the mapped files but for those that are repacked.
Result<std::unique_ptr<const Model>> LoadModel(const LoadOptions& options);

}  // namespace causeway::model
