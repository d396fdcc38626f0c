// Which linear layer of the network a tensor is: what calibration needs to know of a name.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace causeway::model::quantize {

// Linear layers that read the same x share its statistics.
enum class Input : uint8_t { kAttention, kAttended, kMlp, kInner };
inline constexpr int kInputs = 4;

struct Role {
  int64_t layer = 0;
  Input input = Input::kAttention;
  // The matrices of the network that the tensor holds, one below the other: bit i stands for the i-th of q, k, v, o,
  // gate, up, down.
  uint8_t parts = 0;
};

// Of a tensor's name in the hub's words, without a wrapper's prefix ("model.layers.3.self_attn.q_proj.weight"), or in
// GGUF's ("blk.3.attn_q.weight"). Nothing for all that is no matrix of a layer.
std::optional<Role> RoleOf(std::string_view name);

}  // namespace causeway::model::quantize
