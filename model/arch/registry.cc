#include "model/arch/registry.h"


#include "model/arch/families.h"

namespace causeway::model {
namespace {

constexpr Architecture kArchitectures[] = {
    {"llama", "Llama 1 to 3, SmolLM and their relatives", BuildLlama},
    {"smollm3", "no rope in every fourth layer", BuildSmolLm3},
    {"mistral", "sliding window", BuildMistral},
    {"qwen2", "biases on Q, K and V", BuildQwen2},
    {"qwen3", "norms on each query and key head", BuildQwen3},
    {"olmo2", "norms after the blocks, and over all of Q and K", BuildOlmo2},
    {"granite", "four multipliers", BuildGranite},
    {"phi3", "fused QKV and gate-up, longrope", BuildPhi3},
    {"gemma2", "one-plus norms, four a block, soft-caps, every other layer local", BuildGemma2},
    {"gemma3_text", "norms on each query and key head, local layers with their own rope", BuildGemma3},
    {"gpt2", "learned positions, LayerNorm, transposed weights", BuildGpt2},
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
  return MakeError(ErrorCode::kUnsupported, "model_type '" + std::string(model_type) +
                                                "' is not served; known: " + known);
}

}  // namespace causeway::model
