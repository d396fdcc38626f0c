#include "model/gguf/architectures.h"

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "kernels/quant/format.h"

namespace causeway::model::gguf {
namespace {

constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxWindow = 1 << 24;

constexpr TensorName kShared[] = {
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
    {"attn_norm", "input_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_qkv", "self_attn.qkv_proj"},
    {"attn_output", "self_attn.o_proj"},
    {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"},
    {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
    {"post_attention_norm", "post_attention_layernorm"},
    {"post_ffw_norm", "post_feedforward_layernorm"},
};
constexpr TensorName kSandwich[] = {{"ffn_norm", "pre_feedforward_layernorm"}};
constexpr TensorName kOlmo2[] = {{"post_attention_norm", "post_attention_layernorm"}};
constexpr TensorName kPhi3[] = {{"ffn_up", "mlp.gate_up_proj"}};
constexpr TensorName kGpt2[] = {
    {"token_embd", "wte"}, {"position_embd", "wpe"},    {"output_norm", "ln_f"},
    {"attn_norm", "ln_1"}, {"attn_qkv", "attn.c_attn"}, {"attn_output", "attn.c_proj"},
    {"ffn_norm", "ln_2"},  {"ffn_up", "mlp.c_fc"},      {"ffn_down", "mlp.c_proj"},
};

Error Unsupported(const File& file, std::string_view key, std::string_view what) {
  return MakeError(ErrorCode::kUnsupported, fmt::format("metadata {}: {}", KeyOf(file, key), what));
}

// Copies a number under another name if it is there.
Result<void> CopyNumber(const File& file, std::string_view key, const char* field, Json& config) {
  if (file.metadata.Has(KeyOf(file, key))) {
    ASSIGN_OR_RETURN(config[field], file.metadata.Number(KeyOf(file, key)));
  }
  return {};
}

Result<int64_t> WindowOf(const File& file) {
  return file.metadata.Int(KeyOf(file, "attention.sliding_window"), 0, kMaxWindow, 0);
}

// layer_types from a list of flags, or from a period whose last layer sees everything.
Result<void> FillLayerTypes(const File& file, int64_t default_period, Json& config) {
  const std::string key = KeyOf(file, "attention.sliding_window_pattern");
  ASSIGN_OR_RETURN(const int64_t layers, file.metadata.Int(KeyOf(file, "block_count"), 1, kMaxLayers));
  const Value* const pattern = file.metadata.Find(key);
  std::vector<double> flags;
  int64_t period = default_period;
  if (pattern != nullptr && pattern->is_array) {
    ASSIGN_OR_RETURN(flags, file.metadata.Numbers(key));
    if (static_cast<int64_t>(flags.size()) < layers) {
      return MakeError(ErrorCode::kInvalidArgument,
                       fmt::format("metadata {}: {} entries for {} layers", key, flags.size(), layers));
    }
  } else {
    ASSIGN_OR_RETURN(period, file.metadata.Int(key, 1, kMaxLayers, default_period));
  }
  Json types = Json::array();
  for (int64_t i = 0; i < layers; ++i) {
    const bool slides = flags.empty() ? (i + 1) % period != 0 : flags[static_cast<size_t>(i)] != 0;
    types.push_back(slides ? "sliding_attention" : "full_attention");
  }
  config["layer_types"] = std::move(types);
  return {};
}

Result<void> FillWithoutWindow(const File& file, Json& config) {
  config["sliding_window"] = nullptr;
  ASSIGN_OR_RETURN(const int64_t window, WindowOf(file));
  const bool slides = window > 0 && window < config["max_position_embeddings"].get<int64_t>();
  return slides ? Unsupported(file, "attention.sliding_window", "this architecture is served without windows")
                : Result<void>();
}

Result<void> FillMistral3(const File& file, Json& config) {
  ASSIGN_OR_RETURN(const double scale, file.metadata.Number(KeyOf(file, "attention.temperature_scale"), 0.0));
  if (scale != 0) {
    return Unsupported(file, "attention.temperature_scale", "attention that cools with the position is not served");
  }
  return FillWithoutWindow(file, config);
}

Result<void> FillGranite(const File& file, Json& config) {
  ASSIGN_OR_RETURN(const bool rope, file.metadata.Flag(KeyOf(file, "rope.scaling.finetuned"), true));
  if (!rope) {  // so the architecture writes it
    return Unsupported(file, "rope.scaling.finetuned", "a granite without rope is not served");
  }
  TRY(CopyNumber(file, "embedding_scale", "embedding_multiplier", config));
  TRY(CopyNumber(file, "residual_scale", "residual_multiplier", config));
  TRY(CopyNumber(file, "logit_scale", "logits_scaling", config));
  // Without a scale of its own attention is scaled as everywhere.
  const double head_dim = config["head_dim"].get<double>();
  ASSIGN_OR_RETURN(const double scale, file.metadata.Number(KeyOf(file, "attention.scale"), 0.0));
  config["attention_multiplier"] = scale != 0 ? scale : 1.0 / std::sqrt(head_dim);
  return FillWithoutWindow(file, config);
}

Result<void> FillPhi3(const File& file, Json& config) {
  ASSIGN_OR_RETURN(const int64_t window, WindowOf(file));
  config["sliding_window"] = window > 0 ? Json(window) : Json();
  const int64_t head_dim = config["head_dim"].get<int64_t>();
  ASSIGN_OR_RETURN(const int64_t turned, file.metadata.Int(KeyOf(file, "rope.dimension_count"), 1, head_dim, head_dim));
  if (turned < head_dim) {  // the half keeps the product, which is rounded down, on the right side
    config["partial_rotary_factor"] = (static_cast<double>(turned) + 0.5) / static_cast<double>(head_dim);
  }
  const std::string original = KeyOf(file, "rope.scaling.original_context_length");
  ASSIGN_OR_RETURN(config["original_max_position_embeddings"],
                   file.metadata.Int(original, 1, kMaxWindow, config["max_position_embeddings"].get<int64_t>()));
  return {};
}

// Queries are scaled by the head's width, but in the largest of either family (told by its layers) by hidden / heads.
void FillQueryScale(int64_t layers_of_largest, Json& config) {
  const bool largest = config["num_hidden_layers"] == layers_of_largest;
  config["query_pre_attn_scalar"] =
      largest ? Json(config["hidden_size"].get<int64_t>() / config["num_attention_heads"].get<int64_t>())
              : config["head_dim"];
}

Result<void> FillGemma2(const File& file, Json& config) {
  FillQueryScale(46, config);
  TRY(CopyNumber(file, "attn_logit_softcapping", "attn_logit_softcapping", config));
  TRY(CopyNumber(file, "final_logit_softcapping", "final_logit_softcapping", config));
  ASSIGN_OR_RETURN(config["sliding_window"],
                   file.metadata.Int(KeyOf(file, "attention.sliding_window"), 1, kMaxWindow, 4096));
  return FillLayerTypes(file, 2, config);
}

Result<void> FillGemma3(const File& file, Json& config) {
  FillQueryScale(62, config);
  TRY(CopyNumber(file, "final_logit_softcapping", "final_logit_softcapping", config));
  ASSIGN_OR_RETURN(config["rope_local_base_freq"], file.metadata.Number(KeyOf(file, "rope.freq_base_swa"), 10000.0));
  ASSIGN_OR_RETURN(const int64_t window, WindowOf(file));
  if (window > 0) {
    config["sliding_window"] = window;
    return FillLayerTypes(file, 6, config);
  }
  config["sliding_window"] = nullptr;
  config["sliding_window_pattern"] = 1;
  return {};
}

Result<void> FillGpt2(const File& file, Json& config) {
  config["n_embd"] = config["hidden_size"];
  config["n_layer"] = config["num_hidden_layers"];
  config["n_head"] = config["num_attention_heads"];
  config["n_inner"] = config["intermediate_size"];
  config["n_positions"] = config["max_position_embeddings"];
  ASSIGN_OR_RETURN(config["layer_norm_epsilon"], file.metadata.Number(KeyOf(file, "attention.layer_norm_epsilon")));
  return {};
}

constexpr Architecture kArchitectures[] = {
    {.name = "llama",
     .model_type = "llama",
     .hub_class = "LlamaForCausalLM",
     .reordered_qk = true,
     .fill = FillWithoutWindow},
    {.name = "mistral3",
     .model_type = "llama",
     .hub_class = "LlamaForCausalLM",
     .reordered_qk = true,
     .fill = FillMistral3},
    {.name = "smollm3",
     .model_type = "smollm3",
     .hub_class = "SmolLM3ForCausalLM",
     .reordered_qk = true,
     .fill = FillWithoutWindow},
    {.name = "granite",
     .model_type = "granite",
     .hub_class = "GraniteForCausalLM",
     .reordered_qk = true,
     .fill = FillGranite},
    {.name = "qwen2", .model_type = "qwen2", .hub_class = "Qwen2ForCausalLM", .fill = FillWithoutWindow},
    {.name = "qwen3", .model_type = "qwen3", .hub_class = "Qwen3ForCausalLM", .fill = FillWithoutWindow},
    {.name = "olmo2",
     .model_type = "olmo2",
     .hub_class = "Olmo2ForCausalLM",
     .own_names = kOlmo2,
     .fill = FillWithoutWindow},
    {.name = "phi3", .model_type = "phi3", .hub_class = "Phi3ForCausalLM", .own_names = kPhi3, .fill = FillPhi3},
    {.name = "gemma2",
     .model_type = "gemma2",
     .hub_class = "Gemma2ForCausalLM",
     .own_names = kSandwich,
     .fill = FillGemma2},
    {.name = "gemma3",
     .model_type = "gemma3_text",
     .hub_class = "Gemma3ForCausalLM",
     .own_names = kSandwich,
     .fill = FillGemma3},
    {.name = "gpt2",
     .model_type = "gpt2",
     .hub_class = "GPT2LMHeadModel",
     .layer_prefix = "h.",
     .own_names = kGpt2,
     .fill = FillGpt2},
};

constexpr std::string_view kFrequencyFactors = "rope_freqs.weight";
constexpr std::string_view kLongFactors = "rope_factors_long.weight";
constexpr std::string_view kShortFactors = "rope_factors_short.weight";

Result<Json> FactorsOf(const File& file, std::string_view name) {
  const auto it = file.tensors.find(name);
  if (it == file.tensors.end()) {
    return Json();
  }
  const Tensor& tensor = it->second;
  if (tensor.dtype != "F32" || tensor.elements() > kMaxLayers) {
    return MakeError(ErrorCode::kInvalidArgument, fmt::format("tensor {}: no short list of F32", name));
  }
  std::vector<float> values(static_cast<size_t>(tensor.elements()));
  kernels::FindFormat(tensor.dtype)->decode(tensor.data.data(), values.data(), tensor.elements());
  return Json(values);
}

Result<void> FillYarn(const File& file, Json& scaling) {
  TRY(CopyNumber(file, "rope.scaling.original_context_length", "original_max_position_embeddings", scaling));
  TRY(CopyNumber(file, "rope.scaling.yarn_beta_fast", "beta_fast", scaling));
  TRY(CopyNumber(file, "rope.scaling.yarn_beta_slow", "beta_slow", scaling));
  TRY(CopyNumber(file, "rope.scaling.yarn_attn_factor", "attention_factor", scaling));
  ASSIGN_OR_RETURN(const double extrapolation, file.metadata.Number(KeyOf(file, "rope.scaling.yarn_ext_factor"), 1.0));
  if (extrapolation != 1) {
    return Unsupported(file, "rope.scaling.yarn_ext_factor", "only 1 is served");
  }
  ASSIGN_OR_RETURN(const double log_multiplier,
                   file.metadata.Number(KeyOf(file, "rope.scaling.yarn_log_multiplier"), 0.0));
  if (log_multiplier != 0) {
    scaling["mscale"] = 1.0;
    scaling["mscale_all_dim"] = log_multiplier;
  }
  return {};
}

Result<Json> LongRope(const File& file, Json short_factors, Json long_factors) {
  if (short_factors.is_null() || long_factors.is_null()) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("longrope needs both {} and {}", kShortFactors, kLongFactors));
  }
  Json scaling = {
      {"rope_type", "longrope"}, {"short_factor", std::move(short_factors)}, {"long_factor", std::move(long_factors)}};
  TRY(CopyNumber(file, "rope.scaling.attn_factor", "attention_factor", scaling));
  TRY(CopyNumber(file, "rope.scaling.original_context_length", "original_max_position_embeddings", scaling));
  return scaling;
}

}  // namespace

std::span<const Architecture> Architectures() { return kArchitectures; }
std::span<const TensorName> SharedNames() { return kShared; }

std::string KeyOf(const File& file, std::string_view key) {
  const auto name = file.metadata.Text("general.architecture", "");
  return (name.ok() ? *name : std::string()) + "." + std::string(key);
}

bool IsRopeTensor(std::string_view name) {
  return name == kFrequencyFactors || name == kLongFactors || name == kShortFactors;
}

Result<Json> RopeScaling(const File& file) {
  const auto number = [&](std::string_view key, double fallback) {
    return file.metadata.Number(KeyOf(file, key), fallback);
  };
  ASSIGN_OR_RETURN(const double old_factor, number("rope.scale_linear", 1.0));
  ASSIGN_OR_RETURN(double factor, number("rope.scaling.factor", old_factor));
  factor = factor == 0 ? 1 : factor;  // zero says none
  ASSIGN_OR_RETURN(const std::string type, file.metadata.Text(KeyOf(file, "rope.scaling.type"), "linear"));
  ASSIGN_OR_RETURN(const double alpha, number("rope.scaling.alpha", 0.0));
  if (alpha != 0) {
    return Unsupported(file, "rope.scaling.alpha", "this scaling is not served");
  }
  ASSIGN_OR_RETURN(Json frequency_factors, FactorsOf(file, kFrequencyFactors));
  ASSIGN_OR_RETURN(Json short_factors, FactorsOf(file, kShortFactors));
  ASSIGN_OR_RETURN(Json long_factors, FactorsOf(file, kLongFactors));
  if (type == "longrope" || !short_factors.is_null() || !long_factors.is_null()) {
    return LongRope(file, std::move(short_factors), std::move(long_factors));
  }
  if (type == "yarn" && frequency_factors.is_null()) {
    Json scaling = {{"rope_type", "yarn"}, {"factor", factor}};
    TRY(FillYarn(file, scaling));
    return scaling;
  }
  if (type != "none" && type != "linear") {
    return Unsupported(file, "rope.scaling.type",
                       fmt::format("'{}'{} is not served; known: none, linear, yarn, longrope", type,
                                   frequency_factors.is_null() ? "" : " together with rope_freqs.weight"));
  }
  factor = type == "none" ? 1 : factor;
  if (!frequency_factors.is_null()) {
    return Json{
        {"rope_type", "frequency_factors"}, {"frequency_factors", std::move(frequency_factors)}, {"factor", factor}};
  }
  return factor == 1 ? Json() : Json{{"rope_type", "linear"}, {"factor", factor}};
}

}  // namespace causeway::model::gguf
