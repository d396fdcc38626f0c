// The common decoder: Llama and its relatives differ in flags and names, not in shape.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/builder.h"
#include "model/config.h"
#include "model/network.h"

namespace causeway::model {

enum class NormPlacement : uint8_t {
  kBefore,    // norm, block, residual sum
  kAfter,     // block, norm, residual sum (OLMo 2)
  kSandwich,  // norm, block, norm, residual sum (Gemma 2, 3)
};
enum class QkNorm : uint8_t { kNone, kPerHead, kWhole };

// What a family decides. Defaults are Llama's.
struct DecoderTraits {
  NormPlacement placement = NormPlacement::kBefore;
  QkNorm qk_norm = QkNorm::kNone;
  bool one_plus_norm = false;  // weights are stored minus one
  bool qkv_bias = false;
  bool o_bias = false;
  bool mlp_bias = false;
  bool fused_qkv = false;      // self_attn.qkv_proj
  bool fused_gate_up = false;  // mlp.gate_up_proj
  bool tied_by_default = false;
  const char* activation_field = "hidden_act";
  double attention_scale = 0;  // 0: head_dim^-0.5
  double attention_softcap = 0;
  double logits_softcap = 0;
  double embedding_scale = 1;
  double residual_multiplier = 1;
  double logits_scale = 1;
  bool partial_rotary = false;     // partial_rotary_factor may leave a part of each head unturned
  bool yarn_is_longrope = false;   // an old name of it (Phi-3)
  std::vector<bool> sliding;       // per layer; empty: none
  std::vector<bool> without_rope;  // per layer; empty: none
  bool local_rope = false;         // sliding layers have a rope of their own
};

// The numbers every decoder has, checked.
struct DecoderSizes {
  int64_t hidden = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t intermediate = 0;
  int64_t vocab = 0;
  int64_t context_length = 0;
};
Result<DecoderSizes> ReadSizes(const Config& config);

Result<void> BuildDecoder(const Config& config, const DecoderTraits& traits, WeightSource& weights, Network& network);

// silu, gelu, gelu_new, gelu_pytorch_tanh, relu by their Hugging Face names.
Result<kernels::Activation> ParseActivation(const std::string& name);

// Sliding layers: `layer_types` if the configuration has it, else `fallback(layer)`.
Result<std::vector<bool>> ReadSliding(const Config& config, int64_t layers,
                                      const std::function<bool(int64_t layer)>& fallback);

// For a family without windows of its own: kUnsupported if a field asks for something that the common
// decoder would not compute. Called by BuildDecoder for every family.
Result<void> RefuseOthers(const Config& config, const DecoderTraits& traits, const DecoderSizes& sizes);

}  // namespace causeway::model
