#include "model/arch/decoder.h"

#include <algorithm>
#include <cmath>

#include "fmt/format.h"
#include "kernels/attention_plan.h"

namespace causeway::model {
namespace {

constexpr int64_t kMaxSize = int64_t{1} << 24;  // of any width, so that no product of two overflows

// Reads the family's tensors layer by layer.
class DecoderBuilder {
 public:
  DecoderBuilder(const Config& config, const DecoderTraits& traits, const DecoderSizes& sizes, WeightSource& weights,
                 Network& network)
      : config_(config), traits_(traits), sizes_(sizes), weights_(weights), network_(network) {}

  Result<void> Build() {
    ASSIGN_OR_RETURN(const double eps, config_.Number("rms_norm_eps"));
    eps_ = static_cast<float>(eps);
    ASSIGN_OR_RETURN(const std::string activation, config_.Text(traits_.activation_field));
    ASSIGN_OR_RETURN(activation_, ParseActivation(activation));
    ASSIGN_OR_RETURN(window_, config_.Int("sliding_window", 1, kMaxSize, 0));
    TRY(RefuseOthers(config_, traits_, sizes_));
    TRY(MakeRopes());
    FillNetwork();
    for (int64_t i = 0; i < sizes_.layers; ++i) {
      network_.layers.push_back(MakeLayer(i));
    }
    return MakeHead();
  }

 private:
  Result<void> MakeRopes() {
    ASSIGN_OR_RETURN(const RopeSettings full, ReadRope(config_));
    TRY(AddRope(full));
    if (traits_.local_rope) {
      ASSIGN_OR_RETURN(const RopeSettings local, ReadLocalRope(config_));
      TRY(AddRope(local));
    }
    return {};
  }

  Result<void> AddRope(const RopeSettings& settings) {
    if (settings.rotary_fraction != 1 && !traits_.partial_rotary) {
      return MakeError(
          ErrorCode::kUnsupported,
          fmt::format("config.json: partial_rotary_factor {} is not served in this family", settings.rotary_fraction));
    }
    ASSIGN_OR_RETURN(const int64_t original, config_.Int("original_max_position_embeddings", 1, kMaxSize, 0));
    ASSIGN_OR_RETURN(
        Rope rope,
        MakeRope({.theta = settings.theta,
                  .dimensions = static_cast<int64_t>(static_cast<double>(sizes_.head_dim) * settings.rotary_fraction),
                  .max_position_embeddings = sizes_.context_length,
                  .original_max_position_embeddings = original,
                  .scaling = settings.scaling,
                  .yarn_is_longrope = traits_.yarn_is_longrope}));
    if (rope.rotary_dim > sizes_.head_dim) {
      return MakeError(ErrorCode::kUnsupported,
                       fmt::format("config.json: an odd head_dim {} cannot turn in pairs", sizes_.head_dim));
    }
    network_.ropes.push_back(std::move(rope));
    return {};
  }

  void FillNetwork() {
    network_.hidden = sizes_.hidden;
    network_.vocab = sizes_.vocab;
    network_.kv_heads = sizes_.kv_heads;
    network_.head_dim = sizes_.head_dim;
    network_.context_length = sizes_.context_length;
    network_.embedding_scale = static_cast<float>(traits_.embedding_scale);
    network_.residual_multiplier = static_cast<float>(traits_.residual_multiplier);
    network_.logits_scale = static_cast<float>(traits_.logits_scale);
    network_.logits_softcap = static_cast<float>(traits_.logits_softcap);
    network_.embedding = weights_.Matrix("model.embed_tokens.weight", sizes_.vocab, sizes_.hidden);
  }

  Norm MakeNorm(const std::string& name, int64_t size) {
    return {.kind = Norm::Kind::kRms,
            .eps = eps_,
            .weight = traits_.one_plus_norm ? weights_.OnePlusVector(name + ".weight", size)
                                            : weights_.Vector(name + ".weight", size),
            .bias = {}};
  }

  Projection MakeProjection(const std::string& name, int64_t out, int64_t in, bool bias) {
    Projection projection;
    projection.module = name;
    projection.module_rows = out;
    projection.weight = weights_.Matrix(name + ".weight", out, in);
    if (weights_.WantsBias(name + ".bias", bias)) {
      projection.bias = weights_.Vector(name + ".bias", out);
    }
    return projection;
  }

  AttentionBlock MakeAttention(int64_t layer, const std::string& prefix) {
    const int64_t q_width = sizes_.heads * sizes_.head_dim;
    const int64_t kv_width = sizes_.kv_heads * sizes_.head_dim;
    AttentionBlock block;
    block.heads = sizes_.heads;
    if (traits_.fused_qkv) {
      const Projection fused =
          MakeProjection(prefix + "qkv_proj", q_width + 2 * kv_width, sizes_.hidden, traits_.qkv_bias);
      block.q = Part(fused, 0, q_width);
      block.k = Part(fused, q_width, q_width + kv_width);
      block.v = Part(fused, q_width + kv_width, q_width + 2 * kv_width);
    } else {
      block.q = MakeProjection(prefix + "q_proj", q_width, sizes_.hidden, traits_.qkv_bias);
      block.k = MakeProjection(prefix + "k_proj", kv_width, sizes_.hidden, traits_.qkv_bias);
      block.v = MakeProjection(prefix + "v_proj", kv_width, sizes_.hidden, traits_.qkv_bias);
    }
    block.o = MakeProjection(prefix + "o_proj", sizes_.hidden, q_width, traits_.o_bias);
    if (traits_.qk_norm != QkNorm::kNone) {
      block.norm_per_head = traits_.qk_norm == QkNorm::kPerHead;
      block.q_norm = MakeNorm(prefix + "q_norm", block.norm_per_head ? sizes_.head_dim : q_width);
      block.k_norm = MakeNorm(prefix + "k_norm", block.norm_per_head ? sizes_.head_dim : kv_width);
    }
    const auto index = static_cast<size_t>(layer);
    const bool sliding = !traits_.sliding.empty() && traits_.sliding[index];
    const bool without_rope = !traits_.without_rope.empty() && traits_.without_rope[index];
    block.rope = without_rope ? -1 : sliding && network_.ropes.size() > 1 ? 1 : 0;
    block.window = sliding ? window_ : 0;
    block.scale = static_cast<float>(
        traits_.attention_scale != 0 ? traits_.attention_scale : 1.0 / std::sqrt(static_cast<double>(sizes_.head_dim)));
    block.softcap = static_cast<float>(traits_.attention_softcap);
    return block;
  }

  MlpBlock MakeMlp(const std::string& prefix) {
    MlpBlock block;
    block.activation = activation_;
    if (traits_.fused_gate_up) {
      const Projection fused =
          MakeProjection(prefix + "gate_up_proj", 2 * sizes_.intermediate, sizes_.hidden, traits_.mlp_bias);
      block.gate = Part(fused, 0, sizes_.intermediate);
      block.up = Part(fused, sizes_.intermediate, 2 * sizes_.intermediate);
    } else {
      block.gate = MakeProjection(prefix + "gate_proj", sizes_.intermediate, sizes_.hidden, traits_.mlp_bias);
      block.up = MakeProjection(prefix + "up_proj", sizes_.intermediate, sizes_.hidden, traits_.mlp_bias);
    }
    block.down = MakeProjection(prefix + "down_proj", sizes_.hidden, sizes_.intermediate, traits_.mlp_bias);
    return block;
  }

  Layer MakeLayer(int64_t index) {
    const std::string prefix = fmt::format("model.layers.{}.", index);
    const auto norm = [&](const char* name) { return MakeNorm(prefix + name, sizes_.hidden); };
    Layer layer;
    switch (traits_.placement) {
      case NormPlacement::kBefore:
        layer.attention_norm = norm("input_layernorm");
        layer.mlp_norm = norm("post_attention_layernorm");
        break;
      case NormPlacement::kAfter:
        layer.attention_post_norm = norm("post_attention_layernorm");
        layer.mlp_post_norm = norm("post_feedforward_layernorm");
        break;
      case NormPlacement::kSandwich:
        layer.attention_norm = norm("input_layernorm");
        layer.attention_post_norm = norm("post_attention_layernorm");
        layer.mlp_norm = norm("pre_feedforward_layernorm");
        layer.mlp_post_norm = norm("post_feedforward_layernorm");
        break;
    }
    layer.attention = MakeAttention(index, prefix + "self_attn.");
    layer.mlp = MakeMlp(prefix + "mlp.");
    weights_.Ignore(prefix + "self_attn.rotary_emb.inv_freq");  // a buffer of old checkpoints
    return layer;
  }

  Result<void> MakeHead() {
    network_.final_norm = MakeNorm("model.norm", sizes_.hidden);
    weights_.Ignore("model.rotary_emb.inv_freq");
    ASSIGN_OR_RETURN(network_.tied, config_.Flag("tie_word_embeddings", traits_.tied_by_default));
    network_.head.module = "lm_head";
    network_.head.module_rows = sizes_.vocab;
    network_.head.weight = network_.tied ? weights_.Tied("lm_head.weight", network_.embedding)
                                         : weights_.Matrix("lm_head.weight", sizes_.vocab, sizes_.hidden);
    return {};
  }

  const Config& config_;
  const DecoderTraits& traits_;
  const DecoderSizes& sizes_;
  WeightSource& weights_;
  Network& network_;
  float eps_ = 0;
  kernels::Activation activation_ = kernels::Activation::kSilu;
  int64_t window_ = 0;
};

}  // namespace

Result<kernels::Activation> ParseActivation(const std::string& name) {
  if (name == "silu" || name == "swish") {
    return kernels::Activation::kSilu;
  }
  if (name == "gelu") {
    return kernels::Activation::kGelu;
  }
  if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_tanh" || name == "gelu_fast") {
    return kernels::Activation::kGeluTanh;
  }
  if (name == "relu") {
    return kernels::Activation::kRelu;
  }
  return MakeError(ErrorCode::kUnsupported,
                   "activation '" + name + "' is not served; known: silu, gelu, gelu_new, gelu_pytorch_tanh, relu");
}

Result<DecoderSizes> ReadSizes(const Config& config) {
  DecoderSizes sizes;
  ASSIGN_OR_RETURN(sizes.hidden, config.Int("hidden_size", 1, kMaxSize));
  ASSIGN_OR_RETURN(sizes.layers, config.Int("num_hidden_layers", 1, 4096));
  ASSIGN_OR_RETURN(sizes.heads, config.Int("num_attention_heads", 1, 65536));
  ASSIGN_OR_RETURN(sizes.kv_heads, config.Int("num_key_value_heads", 1, 65536, sizes.heads));
  ASSIGN_OR_RETURN(sizes.intermediate, config.Int("intermediate_size", 1, kMaxSize));
  ASSIGN_OR_RETURN(sizes.vocab, config.Int("vocab_size", 1, kMaxSize));
  ASSIGN_OR_RETURN(sizes.context_length, config.Int("max_position_embeddings", 1, kMaxSize));
  const int64_t default_head_dim = sizes.hidden / sizes.heads;
  ASSIGN_OR_RETURN(sizes.head_dim, config.Int("head_dim", 1, 65536,
                                              default_head_dim > 0 ? std::optional(default_head_dim) : std::nullopt));
  if (!config.Has("head_dim") && sizes.hidden % sizes.heads != 0) {
    return MakeError(
        ErrorCode::kInvalidArgument,
        fmt::format("config.json: hidden_size {} is no multiple of num_attention_heads {}", sizes.hidden, sizes.heads));
  }
  if (sizes.heads % sizes.kv_heads != 0) {
    return MakeError(ErrorCode::kInvalidArgument, fmt::format("config.json: num_attention_heads {} is no multiple of "
                                                              "num_key_value_heads {}",
                                                              sizes.heads, sizes.kv_heads));
  }
  if (sizes.heads / sizes.kv_heads > kernels::kAttentionTileQueries) {
    return MakeError(ErrorCode::kUnsupported,
                     fmt::format("config.json: {} of num_attention_heads share one of num_key_value_heads; at most {} "
                                 "are served",
                                 sizes.heads / sizes.kv_heads, kernels::kAttentionTileQueries));
  }
  return sizes;
}

Result<std::vector<bool>> ReadSliding(const Config& config, int64_t layers,
                                      const std::function<bool(int64_t)>& fallback) {
  ASSIGN_OR_RETURN(const auto types, config.TextList("layer_types"));
  std::vector<bool> sliding;
  if (!types.empty() && static_cast<int64_t>(types.size()) != layers) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("config.json: layer_types has {} entries for {} layers", types.size(), layers));
  }
  for (int64_t i = 0; i < layers; ++i) {
    if (types.empty()) {
      sliding.push_back(fallback(i));
      continue;
    }
    const std::string& type = types[static_cast<size_t>(i)];
    if (type != "full_attention" && type != "sliding_attention") {
      return MakeError(ErrorCode::kUnsupported, "layer type '" + type +
                                                    "' is not served; known: full_attention, "
                                                    "sliding_attention");
    }
    sliding.push_back(type == "sliding_attention");
  }
  return sliding;
}

Result<void> RefuseOthers(const Config& config, const DecoderTraits& traits, const DecoderSizes& sizes) {
  ASSIGN_OR_RETURN(const bool bidirectional, config.Flag("use_bidirectional_attention", false));
  if (bidirectional) {
    return MakeError(ErrorCode::kUnsupported,
                     "config.json: use_bidirectional_attention true is not served: only causal models are");
  }
  // Layers that slide must have a window, and a family that has none must not be asked for one.
  ASSIGN_OR_RETURN(const std::vector<bool> asked, ReadSliding(config, sizes.layers, [](int64_t) { return false; }));
  const bool has_window = config.Has("sliding_window");
  for (size_t i = 0; i < asked.size(); ++i) {
    const bool slides = !traits.sliding.empty() && traits.sliding[i];
    if ((asked[i] && !slides) || (slides && !has_window)) {
      return MakeError(ErrorCode::kUnsupported,
                       fmt::format("config.json: layer_types makes layer {} sliding_attention, but {}", i,
                                   has_window ? "this family has no such layers or they are switched off"
                                              : "sliding_window is missing or null"));
    }
  }
  return {};
}

Result<void> BuildDecoder(const Config& config, const DecoderTraits& traits, WeightSource& weights, Network& network) {
  ASSIGN_OR_RETURN(const DecoderSizes sizes, ReadSizes(config));
  return DecoderBuilder(config, traits, sizes, weights, network).Build();
}

}  // namespace causeway::model
