// Gemma 2 and 3: one-plus norms, four norms a block, local and global layers.
#include <cmath>

#include "model/arch/decoder.h"
#include "model/arch/families.h"

namespace causeway::model {
namespace {

Result<void> ReadCommon(const Config& config, const DecoderSizes& sizes, DecoderTraits& traits) {
  traits.placement = NormPlacement::kSandwich;
  traits.one_plus_norm = true;
  traits.tied_by_default = true;
  traits.activation_field = "hidden_activation";  // files also hold a hidden_act that counts for nothing
  // The embedding scale is sqrt(hidden) in the arithmetic's own precision, which here is float32.
  traits.embedding_scale = std::sqrt(static_cast<double>(sizes.hidden));
  ASSIGN_OR_RETURN(const double scalar, config.Number("query_pre_attn_scalar"));
  if (!(scalar > 0)) {
    return MakeError(ErrorCode::kInvalidArgument, "config.json: query_pre_attn_scalar must be above 0");
  }
  traits.attention_scale = 1.0 / std::sqrt(scalar);
  ASSIGN_OR_RETURN(const bool attention_bias, config.Flag("attention_bias", false));
  traits.qkv_bias = attention_bias;
  traits.o_bias = attention_bias;
  ASSIGN_OR_RETURN(traits.logits_softcap, config.Number("final_logit_softcapping", 0.0));
  return {};
}

}  // namespace

Result<void> BuildGemma2(const Config& config, WeightSource& weights, Network& network) {
  DecoderTraits traits;
  ASSIGN_OR_RETURN(const DecoderSizes sizes, ReadSizes(config));
  TRY(ReadCommon(config, sizes, traits));
  ASSIGN_OR_RETURN(traits.attention_softcap, config.Number("attn_logit_softcapping", 0.0));
  ASSIGN_OR_RETURN(traits.sliding, ReadSliding(config, sizes.layers, [](int64_t i) { return i % 2 == 0; }));
  return BuildDecoder(config, traits, weights, network);
}

Result<void> BuildGemma3(const Config& config, WeightSource& weights, Network& network) {
  DecoderTraits traits;
  ASSIGN_OR_RETURN(const DecoderSizes sizes, ReadSizes(config));
  TRY(ReadCommon(config, sizes, traits));
  // attn_logit_softcapping is a field of Gemma 3 too, but its attention has never used it.
  traits.qk_norm = QkNorm::kPerHead;
  traits.local_rope = true;
  const char* const field = config.Has("sliding_window_pattern") ? "sliding_window_pattern" : "_sliding_window_pattern";
  ASSIGN_OR_RETURN(const int64_t pattern, config.Int(field, 1, 4096, 6));
  ASSIGN_OR_RETURN(traits.sliding,
                   ReadSliding(config, sizes.layers, [&](int64_t i) { return (i + 1) % pattern != 0; }));
  return BuildDecoder(config, traits, weights, network);
}

}  // namespace causeway::model
