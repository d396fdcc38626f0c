// GPT-2: learned positions, LayerNorm with bias, one fused QKV, weights stored [in, out], tied head.
#include <cmath>

#include "fmt/format.h"
#include "model/arch/decoder.h"
#include "model/arch/families.h"

namespace causeway::model {
namespace {

struct Gpt2Sizes {
  int64_t hidden, layers, heads, inner, vocab, positions;
  float eps;
};

Norm MakeNorm(WeightSource& weights, const std::string& name, const Gpt2Sizes& sizes) {
  return {.kind = Norm::Kind::kLayer,
          .eps = sizes.eps,
          .weight = weights.Vector(name + ".weight", sizes.hidden),
          .bias = weights.Vector(name + ".bias", sizes.hidden)};
}

Projection MakeConv1d(WeightSource& weights, const std::string& name, int64_t out, int64_t in) {
  return {.weight = weights.Transposed(name + ".weight", out, in),
          .bias = weights.Vector(name + ".bias", out),
          .module = name,
          .module_rows = out};
}

Layer MakeLayer(WeightSource& weights, const Gpt2Sizes& sizes, const std::string& prefix) {
  Layer layer;
  layer.attention_norm = MakeNorm(weights, prefix + "ln_1", sizes);
  layer.mlp_norm = MakeNorm(weights, prefix + "ln_2", sizes);
  AttentionBlock& attention = layer.attention;
  attention.heads = sizes.heads;
  const Projection fused = MakeConv1d(weights, prefix + "attn.c_attn", 3 * sizes.hidden, sizes.hidden);
  attention.q = Part(fused, 0, sizes.hidden);
  attention.k = Part(fused, sizes.hidden, 2 * sizes.hidden);
  attention.v = Part(fused, 2 * sizes.hidden, 3 * sizes.hidden);
  attention.o = MakeConv1d(weights, prefix + "attn.c_proj", sizes.hidden, sizes.hidden);
  layer.mlp.gated = false;
  layer.mlp.up = MakeConv1d(weights, prefix + "mlp.c_fc", sizes.inner, sizes.hidden);
  layer.mlp.down = MakeConv1d(weights, prefix + "mlp.c_proj", sizes.hidden, sizes.inner);
  weights.Ignore(prefix + "attn.bias");  // the causal mask, saved as a buffer
  weights.Ignore(prefix + "attn.masked_bias");
  return layer;
}

Result<Gpt2Sizes> ReadGpt2Sizes(const Config& config) {
  Gpt2Sizes sizes{};
  ASSIGN_OR_RETURN(sizes.hidden, config.Int("n_embd", 1, 1 << 24));
  ASSIGN_OR_RETURN(sizes.layers, config.Int("n_layer", 1, 4096));
  ASSIGN_OR_RETURN(sizes.heads, config.Int("n_head", 1, 65536));
  ASSIGN_OR_RETURN(sizes.inner, config.Int("n_inner", 1, 1 << 24, 4 * sizes.hidden));
  ASSIGN_OR_RETURN(sizes.vocab, config.Int("vocab_size", 1, 1 << 24));
  ASSIGN_OR_RETURN(sizes.positions, config.Int("n_positions", 1, 1 << 24));
  ASSIGN_OR_RETURN(const double eps, config.Number("layer_norm_epsilon"));
  sizes.eps = static_cast<float>(eps);
  if (sizes.hidden % sizes.heads != 0) {
    return MakeError(ErrorCode::kInvalidArgument, "config.json: n_embd is no multiple of n_head");
  }
  return sizes;
}

}  // namespace

Result<void> BuildGpt2(const Config& config, WeightSource& weights, Network& network) {
  ASSIGN_OR_RETURN(const Gpt2Sizes sizes, ReadGpt2Sizes(config));
  ASSIGN_OR_RETURN(const std::string activation_name, config.Text("activation_function"));
  ASSIGN_OR_RETURN(const kernels::Activation activation, ParseActivation(activation_name));
  ASSIGN_OR_RETURN(const bool scaled, config.Flag("scale_attn_weights", true));
  ASSIGN_OR_RETURN(const bool by_layer, config.Flag("scale_attn_by_inverse_layer_idx", false));
  // Hub files come with and without the outer module's name.
  const std::string prefix = weights.Has("transformer.wte.weight") ? "transformer." : "";
  network.hidden = sizes.hidden;
  network.vocab = sizes.vocab;
  network.kv_heads = sizes.heads;
  network.head_dim = sizes.hidden / sizes.heads;
  network.context_length = sizes.positions;
  network.embedding = weights.Matrix(prefix + "wte.weight", sizes.vocab, sizes.hidden);
  network.positions = weights.Matrix(prefix + "wpe.weight", sizes.positions, sizes.hidden);
  for (int64_t i = 0; i < sizes.layers; ++i) {
    Layer layer = MakeLayer(weights, sizes, fmt::format("{}h.{}.", prefix, i));
    layer.mlp.activation = activation;
    double scale = scaled ? 1.0 / std::sqrt(static_cast<double>(network.head_dim)) : 1.0;
    scale /= by_layer ? static_cast<double>(i + 1) : 1.0;
    layer.attention.scale = static_cast<float>(scale);
    network.layers.push_back(std::move(layer));
  }
  network.final_norm = MakeNorm(weights, prefix + "ln_f", sizes);
  ASSIGN_OR_RETURN(network.tied, config.Flag("tie_word_embeddings", true));
  network.head.module = "lm_head";
  network.head.module_rows = sizes.vocab;
  network.head.weight = network.tied ? weights.Tied("lm_head.weight", network.embedding)
                                     : weights.Matrix("lm_head.weight", sizes.vocab, sizes.hidden);
  return {};
}

}  // namespace causeway::model
