#include "model/make_model.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <vector>

#include <strings.h>

#include "base/json.h"
#include "base/rng.h"
#include "fmt/format.h"
#include "kernels/quant/format.h"
#include "model/builtin/builtin.h"
#include "model/gguf/random_weights.h"
#include "model/safetensors_writer.h"

namespace causeway::model {
namespace {

// "q4_K" is written in either way.
bool EqualButForCase(std::string_view a, std::string_view b) {
  return a.size() == b.size() && ::strncasecmp(a.data(), b.data(), a.size()) == 0;
}

constexpr ModelShape kShapes[] = {
    {"tinyllama-1.1b", 2048, 22, 32, 4, 64, 5632, 32000, 2048},
    {"llama-3.2-1b", 2048, 16, 32, 8, 64, 8192, 128256, 8192},
    {"smollm-135m", 576, 30, 9, 3, 64, 1536, 49152, 2048},
};

std::vector<TensorToWrite> TensorsOf(const ModelShape& shape) {
  std::vector<TensorToWrite> tensors;
  const auto add = [&](const std::string& name, std::vector<int64_t> sizes) {
    int64_t bytes = 2;
    for (const int64_t size : sizes) {
      bytes *= size;
    }
    tensors.push_back({name, "BF16", std::move(sizes), bytes});
  };
  const int64_t q = shape.heads * shape.head_dim;
  const int64_t kv = shape.kv_heads * shape.head_dim;
  add("model.embed_tokens.weight", {shape.vocab, shape.hidden});
  for (int64_t i = 0; i < shape.layers; ++i) {
    const std::string prefix = fmt::format("model.layers.{}.", i);
    add(prefix + "input_layernorm.weight", {shape.hidden});
    add(prefix + "self_attn.q_proj.weight", {q, shape.hidden});
    add(prefix + "self_attn.k_proj.weight", {kv, shape.hidden});
    add(prefix + "self_attn.v_proj.weight", {kv, shape.hidden});
    add(prefix + "self_attn.o_proj.weight", {shape.hidden, q});
    add(prefix + "post_attention_layernorm.weight", {shape.hidden});
    add(prefix + "mlp.gate_proj.weight", {shape.inner, shape.hidden});
    add(prefix + "mlp.up_proj.weight", {shape.inner, shape.hidden});
    add(prefix + "mlp.down_proj.weight", {shape.hidden, shape.inner});
  }
  add("model.norm.weight", {shape.hidden});
  add("lm_head.weight", {shape.vocab, shape.hidden});
  return tensors;
}

// Random signs and mantissas under one exponent: values of about +-0.03, norms 1.
void Fill(const TensorToWrite& tensor, uint64_t stream, const std::function<void(std::span<const std::byte>)>& write) {
  constexpr int64_t kBlock = 1 << 20;
  const bool norm = tensor.shape.size() == 1;
  std::vector<uint16_t> values(static_cast<size_t>(kBlock));
  for (int64_t at = 0; at < tensor.bytes / 2; at += kBlock) {
    const int64_t count = std::min(kBlock, tensor.bytes / 2 - at);
    for (int64_t i = 0; i < count; i += 4) {
      const uint64_t bits = RandomBits(1, stream, static_cast<uint64_t>(at + i));
      for (int64_t j = 0; j < 4; ++j) {
        const auto random = static_cast<uint16_t>(bits >> (16 * j));
        values[static_cast<size_t>(i + j)] = norm ? 0x3f80 : static_cast<uint16_t>(0x3c80 | (random & 0x807f));
      }
    }
    write(std::as_bytes(std::span(values).first(static_cast<size_t>(count))));
  }
}

Result<void> WriteFile(const std::string& path, std::string_view text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.flush();
  if (!file.good()) {
    return MakeError(ErrorCode::kFailedPrecondition, "cannot write " + path + ": " + std::strerror(errno));
  }
  return {};
}

std::string ConfigOf(const ModelShape& shape) {
  return OrderedJson{{"architectures", {"LlamaForCausalLM"}},
                     {"model_type", "llama"},
                     {"hidden_size", shape.hidden},
                     {"intermediate_size", shape.inner},
                     {"num_hidden_layers", shape.layers},
                     {"num_attention_heads", shape.heads},
                     {"num_key_value_heads", shape.kv_heads},
                     {"head_dim", shape.head_dim},
                     {"vocab_size", shape.vocab},
                     {"max_position_embeddings", shape.context},
                     {"rms_norm_eps", 1e-5},
                     {"rope_theta", 10000.0},
                     {"hidden_act", "silu"},
                     {"tie_word_embeddings", false},
                     {"torch_dtype", "bfloat16"},
                     {"eos_token_id", 2}}
      .dump(2);
}

}  // namespace

int64_t ModelShape::Parameters() const {
  int64_t parameters = 0;
  for (const TensorToWrite& tensor : TensorsOf(*this)) {
    parameters += tensor.bytes / 2;
  }
  return parameters;
}

std::span<const ModelShape> ModelShapes() { return kShapes; }

std::string KnownShapes() {
  std::string names;
  for (const ModelShape& shape : kShapes) {
    names += (names.empty() ? "" : ", ") + std::string(shape.name);
  }
  return names;
}

Result<void> MakeModel(std::string_view name, const std::string& folder, const std::function<void(double)>& progress) {
  for (const ModelShape& shape : kShapes) {
    if (shape.name == name) {
      return MakeModel(shape, folder, progress);
    }
  }
  return MakeError(ErrorCode::kInvalidArgument,
                   fmt::format("unknown shape '{}'; known: {}", std::string(name), KnownShapes()), "shape");
}

Result<void> MakeModel(std::string_view name, std::string_view format_name, const std::string& folder,
                       const std::function<void(double)>& progress) {
  if (format_name == "bf16") {
    return MakeModel(name, folder, progress);
  }
  std::string known;
  for (const kernels::WeightFormat& format : kernels::WeightFormats()) {
    known += (known.empty() ? "" : ", ") + std::string(format.name);
    if (!EqualButForCase(format.name, format_name)) {
      continue;
    }
    for (const ModelShape& shape : kShapes) {
      if (shape.name == name) {
        std::error_code error;
        std::filesystem::create_directories(folder, error);
        return gguf::WriteRandomLlama(folder + "/model.gguf",
                                      {shape.hidden, shape.layers, shape.heads, shape.kv_heads, shape.head_dim,
                                       shape.inner, shape.vocab, shape.context},
                                      format, progress);
      }
    }
    return MakeModel(name, folder, progress);  // its error
  }
  return MakeError(ErrorCode::kInvalidArgument,
                   fmt::format("unknown format '{}'; known: {}", std::string(format_name), known), "format");
}

Result<void> MakeModel(const ModelShape& shape, const std::string& folder,
                       const std::function<void(double)>& progress) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  TRY(WriteFile(folder + "/config.json", ConfigOf(shape)));
  for (const char* const file : {"tokenizer.json", "tokenizer_config.json"}) {
    const auto bytes = BuiltinFile(file);
    TRY(WriteFile(folder + "/" + file, {reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
  }
  const auto tensors = TensorsOf(shape);
  return WriteSafetensors(folder + "/model.safetensors", tensors, [&](size_t index, const auto& write) {
    Fill(tensors[index], index, write);
    progress(static_cast<double>(index + 1) / static_cast<double>(tensors.size()));
  });
}

}  // namespace causeway::model
