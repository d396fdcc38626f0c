#include "model/arch/registry.h"

#include "model/arch/families.h"

namespace causeway::model {
namespace {

constexpr Architecture kArchitectures[] = {
    {"llama", "Llama 1 to 3, SmolLM and their relatives",
     R"({"hidden_act": "silu", "rms_norm_eps": 1e-6, "max_position_embeddings": 2048})", BuildLlama},
    {"smollm3", "no rope in every fourth layer",
     R"({"hidden_act": "silu", "rms_norm_eps": 1e-6, "max_position_embeddings": 32768, "rope_theta": 2e6,
         "num_key_value_heads": 4})",
     BuildSmolLm3},
    {"mistral", "sliding window",
     R"({"hidden_act": "silu", "rms_norm_eps": 1e-6, "max_position_embeddings": 131072,
         "sliding_window": 4096, "num_key_value_heads": 8})",
     BuildMistral},
    {"qwen2", "biases on Q, K and V",
     R"({"hidden_act": "silu", "rms_norm_eps": 1e-6, "max_position_embeddings": 32768,
         "sliding_window": 4096, "num_key_value_heads": 32})",
     BuildQwen2},
    {"qwen3", "norms on each query and key head",
     R"({"hidden_act": "silu", "rms_norm_eps": 1e-6, "max_position_embeddings": 32768, "head_dim": 128,
         "sliding_window": 4096, "num_key_value_heads": 32})",
     BuildQwen3},
    {"olmo2", "norms after the blocks, and over all of Q and K",
     R"({"hidden_act": "silu", "rms_norm_eps": 1e-5, "max_position_embeddings": 2048})", BuildOlmo2},
    {"granite", "four multipliers", R"({"hidden_act": "silu", "rms_norm_eps": 1e-6, "max_position_embeddings": 2048})",
     BuildGranite},
    {"phi3", "fused QKV and gate-up, longrope",
     R"({"hidden_act": "silu", "rms_norm_eps": 1e-5, "max_position_embeddings": 4096,
         "original_max_position_embeddings": 4096})",
     BuildPhi3},
    {"gemma2", "one-plus norms, four a block, soft-caps, every other layer local",
     R"({"hidden_activation": "gelu_pytorch_tanh", "rms_norm_eps": 1e-6, "max_position_embeddings": 8192,
         "head_dim": 256, "num_key_value_heads": 4, "query_pre_attn_scalar": 256, "sliding_window": 4096,
         "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0})",
     BuildGemma2},
    {"gemma3_text", "norms on each query and key head, local layers with their own rope",
     R"({"vocab_size": 262208, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
         "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
         "hidden_activation": "gelu_pytorch_tanh", "rms_norm_eps": 1e-6, "max_position_embeddings": 131072,
         "query_pre_attn_scalar": 256, "sliding_window": 4096, "rope_theta": 1e6,
         "rope_local_base_freq": 1e4})",
     BuildGemma3},
    {"gpt2", "learned positions, LayerNorm, transposed weights",
     R"({"activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "n_positions": 1024})", BuildGpt2},
};

}  // namespace

std::span<const Architecture> Architectures() { return kArchitectures; }

Result<const Architecture*> FindArchitecture(std::string_view model_type) {
  std::string known;
  for (const Architecture& architecture : kArchitectures) {
    if (architecture.model_type == model_type) {
      return &architecture;
    }
    known += (known.empty() ? "" : ", ") + std::string(architecture.model_type);
  }
  return MakeError(ErrorCode::kUnsupported,
                   "model_type '" + std::string(model_type) + "' is not served; known: " + known);
}

}  // namespace causeway::model
