#include "model/gguf/translate.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string>
#include <utility>

#include "fmt/format.h"
#include "kernels/quant/format.h"
#include "model/gguf/architectures.h"
#include "model/gguf/export.h"

namespace causeway::model::gguf {
namespace {

constexpr int64_t kMaxSize = 1 << 24;

Result<void> RefuseOthers(const File& file) {
  ASSIGN_OR_RETURN(const int64_t experts, file.metadata.Int(KeyOf(file, "expert_count"), 0, kMaxSize, 0));
  if (experts > 0) {
    return MakeError(ErrorCode::kUnsupported,
                     fmt::format("metadata {}: mixtures of experts are not served", KeyOf(file, "expert_count")));
  }
  ASSIGN_OR_RETURN(const bool causal, file.metadata.Flag(KeyOf(file, "attention.causal"), true));
  if (!causal) {
    return MakeError(ErrorCode::kUnsupported,
                     fmt::format("metadata {}: only causal models are served", KeyOf(file, "attention.causal")));
  }
  return {};
}

// The numbers that every architecture has.
Result<Json> CommonConfig(const File& file, const Architecture& architecture) {
  const Metadata& metadata = file.metadata;
  const auto size = [&](const char* key, std::optional<int64_t> fallback = std::nullopt) {
    return metadata.Int(KeyOf(file, key), 1, kMaxSize, fallback);
  };
  Json config = {{"model_type", std::string(architecture.model_type)}};
  ASSIGN_OR_RETURN(const int64_t hidden, size("embedding_length"));
  ASSIGN_OR_RETURN(const int64_t heads, size("attention.head_count"));
  config["hidden_size"] = hidden;
  config["num_attention_heads"] = heads;
  ASSIGN_OR_RETURN(config["num_key_value_heads"], size("attention.head_count_kv", heads));
  ASSIGN_OR_RETURN(config["num_hidden_layers"], size("block_count"));
  ASSIGN_OR_RETURN(config["intermediate_size"], size("feed_forward_length"));
  ASSIGN_OR_RETURN(config["max_position_embeddings"], size("context_length"));
  if (!metadata.Has(KeyOf(file, "attention.key_length")) && hidden % heads != 0) {
    return MakeError(ErrorCode::kInvalidArgument, fmt::format("metadata {}: {} is no multiple of {} heads",
                                                              KeyOf(file, "embedding_length"), hidden, heads));
  }
  ASSIGN_OR_RETURN(const int64_t key, size("attention.key_length", std::max<int64_t>(hidden / heads, 1)));
  ASSIGN_OR_RETURN(const int64_t value, size("attention.value_length", key));
  if (key != value) {
    return MakeError(ErrorCode::kUnsupported, fmt::format("metadata {}: values of {} beside keys of {} are not served",
                                                          KeyOf(file, "attention.value_length"), value, key));
  }
  config["head_dim"] = key;
  if (metadata.Has(KeyOf(file, "attention.layer_norm_rms_epsilon"))) {
    ASSIGN_OR_RETURN(config["rms_norm_eps"], metadata.Number(KeyOf(file, "attention.layer_norm_rms_epsilon")));
  }
  ASSIGN_OR_RETURN(config["rope_theta"], metadata.Number(KeyOf(file, "rope.freq_base"), 10000.0));
  ASSIGN_OR_RETURN(Json scaling, RopeScaling(file));
  if (!scaling.is_null()) {
    config["rope_scaling"] = std::move(scaling);
  }
  return config;
}

Result<Json> ConfigOf(const File& file, const Architecture& architecture) {
  TRY(RefuseOthers(file));
  ASSIGN_OR_RETURN(Json config, CommonConfig(file, architecture));
  const int64_t head_dim = config["head_dim"].get<int64_t>();
  const std::string turned = KeyOf(file, "rope.dimension_count");
  ASSIGN_OR_RETURN(const int64_t rotary, file.metadata.Int(turned, 1, kMaxSize, head_dim));
  if (rotary != head_dim && architecture.name != "phi3") {
    return MakeError(ErrorCode::kUnsupported,
                     fmt::format("metadata {}: {} of {} values of a head are not served in this "
                                 "architecture",
                                 turned, rotary, head_dim));
  }
  TRY(architecture.fill(file, config));
  if (const auto it = file.tensors.find("token_embd.weight");
      it != file.tensors.end() && it->second.shape.size() == 2) {
    config["vocab_size"] = it->second.shape[0];
  }
  config["tie_word_embeddings"] = !file.tensors.contains("output.weight");
  return config;
}

// ---- Tensors -----------------------------------------------------------------------------------------

std::string_view HubStem(const Architecture& architecture, std::string_view stem) {
  for (const auto& names : {architecture.own_names, SharedNames()}) {
    for (const TensorName& name : names) {
      if (name.gguf == stem) {
        return name.hub;
      }
    }
  }
  return {};
}

// The hub's name of "blk.3.attn_q.weight" or "token_embd.weight"; the name itself if it is not known, so that the error
// about tensors without a place says it as the file does.
std::string HubName(const Architecture& architecture, std::string_view name) {
  const size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) {
    return std::string(name);
  }
  std::string_view stem = name.substr(0, dot);
  std::string prefix;
  if (stem.starts_with("blk.")) {
    const size_t end = stem.find('.', 4);
    if (end == std::string_view::npos) {
      return std::string(name);
    }
    prefix = std::string(architecture.layer_prefix) + std::string(stem.substr(4, end - 4)) + ".";
    stem = stem.substr(end + 1);
  }
  const std::string_view hub = HubStem(architecture, stem);
  return hub.empty() ? std::string(name) : prefix + std::string(hub) + std::string(name.substr(dot));
}

// Some of the rows of a tensor whose rows are whole blocks.
Tensor RowsOf(const Tensor& tensor, int64_t begin, int64_t end) {
  Tensor part = tensor;
  const auto row_bytes = static_cast<int64_t>(tensor.data.size()) / tensor.shape[0];
  part.shape[0] = end - begin;
  part.data =
      tensor.data.subspan(static_cast<size_t>(begin * row_bytes), static_cast<size_t>((end - begin) * row_bytes));
  return part;
}

class TensorTranslator {
 public:
  TensorTranslator(const Architecture& architecture, const Json& config, Checkpoint& checkpoint, RowsWritten when)
      : architecture_(architecture),
        heads_(config["num_attention_heads"].get<int64_t>()),
        kv_heads_(config["num_key_value_heads"].get<int64_t>()),
        head_dim_(config["head_dim"].get<int64_t>()),
        checkpoint_(checkpoint),
        when_(when) {}

  Result<void> Add(const std::string& name, const Tensor& tensor) {
    if (IsRopeTensor(name)) {
      return {};
    }
    const std::string hub = HubName(architecture_, name);
    const size_t fused = hub.find("self_attn.qkv_proj.");
    if (fused == std::string::npos || architecture_.model_type == "phi3") {
      return Put(name, hub, tensor);
    }
    const int64_t q = heads_ * head_dim_;
    const int64_t kv = kv_heads_ * head_dim_;
    if (tensor.shape.empty() || tensor.shape[0] != q + 2 * kv) {
      return MakeError(ErrorCode::kInvalidArgument,
                       fmt::format("tensor {}: it does not have the {} rows of Q, K and V", name, q + 2 * kv));
    }
    const auto named = [&](const char* part) {
      return hub.substr(0, fused) + "self_attn." + part + "_proj." + hub.substr(hub.rfind('.') + 1);
    };
    TRY(Put(name, named("q"), RowsOf(tensor, 0, q)));
    TRY(Put(name, named("k"), RowsOf(tensor, q, q + kv)));
    return Put(name, named("v"), RowsOf(tensor, q + kv, q + 2 * kv));
  }

 private:
  // What the file calls `name`, or a part of it.
  Result<void> Put(const std::string& name, const std::string& hub, Tensor tensor) {
    const bool reordered = architecture_.reordered_qk && (hub.find("self_attn.q_proj.") != std::string::npos ||
                                                          hub.find("self_attn.k_proj.") != std::string::npos);
    if (reordered) {
      TRY(Reorder(name, tensor));
    }
    if (!checkpoint_.tensors.emplace(hub, std::move(tensor)).second) {
      return MakeError(ErrorCode::kInvalidArgument, fmt::format("tensor {} is there twice under two names", name));
    }
    return {};
  }

  // llama.cpp turns neighbouring pairs, so its converter lays the two halves of each head's rows alternately: row 2 i +
  // h of the file is row i of half h. The kernels turn (i, i + head_dim / 2).
  Result<void> Reorder(const std::string& name, Tensor& tensor) {
    const bool rows = !tensor.shape.empty() && tensor.shape[0] > 0 && tensor.shape[0] % head_dim_ == 0;
    const bool whole = tensor.shape.size() > 1 || kernels::FindFormat(tensor.dtype)->block_elements == 1;
    if (head_dim_ % 2 != 0 || !rows || !whole) {
      return MakeError(ErrorCode::kInvalidArgument,
                       fmt::format("tensor {}: its rows are no heads of {}", name, head_dim_));
    }
    const LateRows::Shape shape{.rows = tensor.shape[0],
                                .row_bytes = static_cast<int64_t>(tensor.data.size()) / tensor.shape[0],
                                .together = head_dim_};
    const auto write = [source = tensor.data.data(), shape](int64_t begin, int64_t end, std::byte* ordered) {
      const int64_t half = shape.together / 2;
      const auto row_bytes = static_cast<size_t>(shape.row_bytes);
      for (int64_t row = begin; row < end; ++row, ordered += row_bytes) {
        const int64_t in_head = row % shape.together;
        const int64_t stored = row - in_head + in_head % half * 2 + in_head / half;
        std::memcpy(ordered, source + static_cast<size_t>(stored) * row_bytes, row_bytes);
      }
    };
    LateRows& late =
        checkpoint_.late.emplace_back(shape, tensor.data, [write] { return LateRows::Maker{.rows = write}; });
    if (when_ == RowsWritten::kNow || tensor.shape.size() == 1) {  // builders read vectors
      late.WriteNow(here_);
    }
    tensor.data = late.rows();
    return {};
  }

  const Architecture& architecture_;
  const int64_t heads_;
  const int64_t kv_heads_;
  const int64_t head_dim_;
  Checkpoint& checkpoint_;
  const RowsWritten when_;
  ThreadPool here_{{.threads = 1, .pin = false}};  // for what is written now
};

}  // namespace

Result<const Architecture*> FindArchitecture(const File& file) {
  ASSIGN_OR_RETURN(const std::string type, file.metadata.Text("general.type", "model"));
  if (type != "model") {  // adapter, imatrix, mmproj
    return MakeError(ErrorCode::kUnsupported, fmt::format("general.type '{}': the file holds no model", type));
  }
  ASSIGN_OR_RETURN(const std::string name, file.metadata.Text("general.architecture"));
  for (const Architecture& architecture : Architectures()) {
    if (architecture.name == name) {
      return &architecture;
    }
  }
  return MakeError(ErrorCode::kUnsupported,
                   fmt::format("general.architecture '{}' is not served; known: {}", name, KnownArchitectures()));
}

std::string KnownArchitectures() {
  std::string known;
  for (const Architecture& architecture : Architectures()) {
    known += (known.empty() ? "" : ", ") + std::string(architecture.name);
  }
  return known;
}

Result<Json> TranslateConfig(const File& file) {
  ASSIGN_OR_RETURN(const Architecture* const architecture, FindArchitecture(file));
  return ConfigOf(file, *architecture);
}

Result<Checkpoint> Translate(const File& file, RowsWritten when) {
  ASSIGN_OR_RETURN(const Architecture* const architecture, FindArchitecture(file));
  if (!file.tensors.contains("token_embd.weight")) {
    return MakeError(ErrorCode::kInvalidArgument, file.tensors.empty()
                                                      ? "the file holds no weights (a vocabulary alone?)"
                                                      : "tensor token_embd.weight is missing");
  }
  Checkpoint checkpoint;
  ASSIGN_OR_RETURN(checkpoint.config, ConfigOf(file, *architecture));
  checkpoint.conventions = {.norms_hold_one = true, .output_major = true, .biases_as_found = true};
  checkpoint.name_in_file = [architecture](std::string_view hub) {
    const std::string name = GgufName(*architecture, hub);
    return name.empty() ? std::string(hub) : name;
  };
  TensorTranslator translator(*architecture, checkpoint.config, checkpoint, when);
  for (const auto& [name, tensor] : file.tensors) {
    TRY(translator.Add(name, tensor));
  }
  return checkpoint;
}

}  // namespace causeway::model::gguf
