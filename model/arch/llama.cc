// Llama 1 to 3, SmolLM, SmolLM3, Mistral, Granite: the common decoder with few words.
#include "model/arch/decoder.h"
#include "model/arch/families.h"

namespace causeway::model {

Result<void> BuildLlama(const Config& config, WeightSource& weights, Network& network) {
  DecoderTraits traits;
  ASSIGN_OR_RETURN(const bool attention_bias, config.Flag("attention_bias", false));
  traits.qkv_bias = attention_bias;
  traits.o_bias = attention_bias;
  ASSIGN_OR_RETURN(traits.mlp_bias, config.Flag("mlp_bias", false));
  return BuildDecoder(config, traits, weights, network);
}

// Every fourth layer has no rope; `no_rope_layers` holds 1 where there is one.
Result<void> BuildSmolLm3(const Config& config, WeightSource& weights, Network& network) {
  DecoderTraits traits;
  traits.tied_by_default = true;
  ASSIGN_OR_RETURN(const DecoderSizes sizes, ReadSizes(config));
  ASSIGN_OR_RETURN(const auto with_rope, config.IntList("no_rope_layers"));
  ASSIGN_OR_RETURN(const int64_t interval, config.Int("no_rope_layer_interval", 1, 4096, 4));
  if (!with_rope.empty() && static_cast<int64_t>(with_rope.size()) < sizes.layers) {
    return MakeError(ErrorCode::kInvalidArgument, "config.json: no_rope_layers has too few entries");
  }
  for (int64_t i = 0; i < sizes.layers; ++i) {
    traits.without_rope.push_back(with_rope.empty() ? (i + 1) % interval == 0 : with_rope[static_cast<size_t>(i)] == 0);
  }
  ASSIGN_OR_RETURN(const bool attention_bias, config.Flag("attention_bias", false));
  traits.qkv_bias = attention_bias;
  traits.o_bias = attention_bias;
  ASSIGN_OR_RETURN(traits.mlp_bias, config.Flag("mlp_bias", false));
  // Without layer_types, use_sliding_window gives windows to the layers that have no rope.
  ASSIGN_OR_RETURN(const bool window, config.Flag("use_sliding_window", false));
  if (config.Has("sliding_window")) {
    ASSIGN_OR_RETURN(traits.sliding, ReadSliding(config, sizes.layers, [&](int64_t i) {
                       return window && traits.without_rope[static_cast<size_t>(i)];
                     }));
  }
  return BuildDecoder(config, traits, weights, network);
}

Result<void> BuildMistral(const Config& config, WeightSource& weights, Network& network) {
  DecoderTraits traits;
  ASSIGN_OR_RETURN(const DecoderSizes sizes, ReadSizes(config));
  if (config.Has("sliding_window")) {
    ASSIGN_OR_RETURN(traits.sliding, ReadSliding(config, sizes.layers, [](int64_t) { return true; }));
  }
  return BuildDecoder(config, traits, weights, network);
}

Result<void> BuildGranite(const Config& config, WeightSource& weights, Network& network) {
  DecoderTraits traits;
  ASSIGN_OR_RETURN(const bool attention_bias, config.Flag("attention_bias", false));
  traits.qkv_bias = attention_bias;
  traits.o_bias = attention_bias;
  ASSIGN_OR_RETURN(traits.mlp_bias, config.Flag("mlp_bias", false));
  ASSIGN_OR_RETURN(traits.embedding_scale, config.Number("embedding_multiplier", 1.0));
  ASSIGN_OR_RETURN(traits.residual_multiplier, config.Number("residual_multiplier", 1.0));
  ASSIGN_OR_RETURN(traits.attention_scale, config.Number("attention_multiplier", 1.0));
  if (!(traits.attention_scale > 0)) {
    return MakeError(ErrorCode::kInvalidArgument, "config.json: attention_multiplier must be above 0");
  }
  ASSIGN_OR_RETURN(const double divisor, config.Number("logits_scaling", 1.0));
  if (divisor == 0) {
    return MakeError(ErrorCode::kInvalidArgument, "config.json: logits_scaling must not be 0");
  }
  traits.logits_scale = 1.0 / divisor;
  return BuildDecoder(config, traits, weights, network);
}

}  // namespace causeway::model
