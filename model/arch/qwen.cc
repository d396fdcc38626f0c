// Qwen2 and Qwen3, OLMo 2, Phi-3.
#include "model/arch/decoder.h"
#include "model/arch/families.h"

namespace causeway::model {
namespace {

// Qwen's windows: off unless use_sliding_window, and then from layer max_window_layers on.
Result<std::vector<bool>> QwenWindows(const Config& config, int64_t layers) {
  ASSIGN_OR_RETURN(const bool window, config.Flag("use_sliding_window", false));
  if (!window || !config.Has("sliding_window")) {
    return std::vector<bool>();
  }
  ASSIGN_OR_RETURN(const int64_t first, config.Int("max_window_layers", 0, 1 << 24, 28));
  return ReadSliding(config, layers, [&](int64_t i) { return i >= first; });
}

}  // namespace

Result<void> BuildQwen2(const Config& config, WeightSource& weights, Network& network) {
  DecoderTraits traits;
  traits.qkv_bias = true;
  ASSIGN_OR_RETURN(const DecoderSizes sizes, ReadSizes(config));
  ASSIGN_OR_RETURN(traits.sliding, QwenWindows(config, sizes.layers));
  return BuildDecoder(config, traits, weights, network);
}

Result<void> BuildQwen3(const Config& config, WeightSource& weights, Network& network) {
  DecoderTraits traits;
  traits.qk_norm = QkNorm::kPerHead;
  ASSIGN_OR_RETURN(const bool attention_bias, config.Flag("attention_bias", false));
  traits.qkv_bias = attention_bias;
  traits.o_bias = attention_bias;
  ASSIGN_OR_RETURN(const DecoderSizes sizes, ReadSizes(config));
  ASSIGN_OR_RETURN(traits.sliding, QwenWindows(config, sizes.layers));
  return BuildDecoder(config, traits, weights, network);
}

Result<void> BuildOlmo2(const Config& config, WeightSource& weights, Network& network) {
  DecoderTraits traits;
  traits.placement = NormPlacement::kAfter;
  traits.qk_norm = QkNorm::kWhole;
  ASSIGN_OR_RETURN(const bool attention_bias, config.Flag("attention_bias", false));
  traits.qkv_bias = attention_bias;
  traits.o_bias = attention_bias;
  return BuildDecoder(config, traits, weights, network);
}

Result<void> BuildPhi3(const Config& config, WeightSource& weights, Network& network) {
  DecoderTraits traits;
  traits.fused_qkv = true;
  traits.fused_gate_up = true;
  traits.partial_rotary = true;
  traits.yarn_is_longrope = true;
  ASSIGN_OR_RETURN(const DecoderSizes sizes, ReadSizes(config));
  if (config.Has("sliding_window")) {
    ASSIGN_OR_RETURN(traits.sliding, ReadSliding(config, sizes.layers, [](int64_t) { return true; }));
  }
  return BuildDecoder(config, traits, weights, network);
}

}  // namespace causeway::model
