#include "model/quantize/role.h"

#include <charconv>

namespace causeway::model::quantize {
namespace {

constexpr uint8_t kQ = 1, kK = 2, kV = 4, kO = 8, kGate = 16, kUp = 32, kDown = 64;

struct Row {
  std::string_view stem;
  Input input;
  uint8_t parts;
};
constexpr Row kRows[] = {
    {"self_attn.q_proj", Input::kAttention, kQ},
    {"self_attn.k_proj", Input::kAttention, kK},
    {"self_attn.v_proj", Input::kAttention, kV},
    {"self_attn.qkv_proj", Input::kAttention, kQ | kK | kV},
    {"self_attn.o_proj", Input::kAttended, kO},
    {"mlp.gate_proj", Input::kMlp, kGate},
    {"mlp.up_proj", Input::kMlp, kUp},
    {"mlp.gate_up_proj", Input::kMlp, kGate | kUp},
    {"mlp.down_proj", Input::kInner, kDown},
    {"attn.c_attn", Input::kAttention, kQ | kK | kV},
    {"attn.c_proj", Input::kAttended, kO},
    {"mlp.c_fc", Input::kMlp, kUp},
    {"mlp.c_proj", Input::kInner, kDown},
    {"attn_q", Input::kAttention, kQ},
    {"attn_k", Input::kAttention, kK},
    {"attn_v", Input::kAttention, kV},
    {"attn_qkv", Input::kAttention, kQ | kK | kV},
    {"attn_output", Input::kAttended, kO},
    {"ffn_gate", Input::kMlp, kGate},
    {"ffn_up", Input::kMlp, kUp},
    {"ffn_down", Input::kInner, kDown},
};
constexpr std::string_view kPrefixes[] = {"model.layers.", "h.", "blk."};
constexpr std::string_view kEnding = ".weight";

}  // namespace

std::optional<Role> RoleOf(std::string_view name) {
  for (const std::string_view prefix : kPrefixes) {
    if (!name.starts_with(prefix) || !name.ends_with(kEnding)) {
      continue;
    }
    Role role;
    const char* const end = name.data() + name.size() - kEnding.size();
    const auto [dot, error] = std::from_chars(name.data() + prefix.size(), end, role.layer);
    if (error != std::errc() || dot == end || *dot != '.') {
      continue;
    }
    const std::string_view stem(dot + 1, static_cast<size_t>(end - dot - 1));
    for (const Row& row : kRows) {
      if (row.stem == stem) {
        role.input = row.input;
        role.parts = row.parts;
        return role;
      }
    }
  }
  return std::nullopt;
}

}  // namespace causeway::model::quantize
