// Whether a file that was written says of a network what its source said.
#include <cmath>

#include "fmt/format.h"
#include "model/network.h"
#include "model/quantize/writers.h"

namespace causeway::model::quantize {
namespace {

// Files hold some numbers as float32, and factors instead of frequencies.
constexpr double kNear = 1e-5;

bool Near(double a, double b) { return std::fabs(a - b) <= kNear * std::max(std::fabs(a), std::fabs(b)); }

bool Near(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) {
    return false;
  }
  for (size_t i = 0; i < a.size(); ++i) {
    if (!Near(static_cast<double>(a[i]), static_cast<double>(b[i]))) {
      return false;
    }
  }
  return true;
}

bool Near(float a, float b) { return Near(static_cast<double>(a), static_cast<double>(b)); }

bool SameNorm(const Norm& a, const Norm& b) {
  return a.kind == b.kind && Near(a.eps, b.eps) && Near(a.weight, b.weight) && Near(a.bias, b.bias);
}

bool SameRope(const Network& a, int i, const Network& b, int j) {
  if (i < 0 || j < 0) {
    return i < 0 && j < 0;
  }
  const Rope& x = a.ropes[static_cast<size_t>(i)];
  const Rope& y = b.ropes[static_cast<size_t>(j)];
  return x.rotary_dim == y.rotary_dim && x.long_beyond == y.long_beyond &&
         Near(x.attention_factor, y.attention_factor) && Near(x.inverse_frequency, y.inverse_frequency) &&
         Near(x.inverse_frequency_long, y.inverse_frequency_long);
}

std::string LayerDifference(const Network& a, const Layer& x, const Network& b, const Layer& y) {
  const AttentionBlock& one = x.attention;
  const AttentionBlock& other = y.attention;
  if (!SameRope(a, one.rope, b, other.rope)) return "its rope";
  if (one.heads != other.heads) return "its heads";
  if (!Near(one.scale, other.scale)) return "the scale of its attention";
  if (one.window != other.window) return "its window of attention";
  if (!Near(one.softcap, other.softcap)) return "the softcap of its attention";
  if (one.norm_per_head != other.norm_per_head || !SameNorm(one.q_norm, other.q_norm) ||
      !SameNorm(one.k_norm, other.k_norm)) {
    return "its norms of queries and keys";
  }
  if (!SameNorm(x.attention_norm, y.attention_norm) || !SameNorm(x.attention_post_norm, y.attention_post_norm) ||
      !SameNorm(x.mlp_norm, y.mlp_norm) || !SameNorm(x.mlp_post_norm, y.mlp_post_norm)) {
    return "its norms";
  }
  if (x.mlp.activation != y.mlp.activation || x.mlp.gated != y.mlp.gated) return "its activation";
  const auto same_bias = [](const Projection& p, const Projection& q) {
    return p.bias.empty() && q.bias.empty() ? true : p.bias.size() == q.bias.size();
  };
  if (!same_bias(one.q, other.q) || !same_bias(one.o, other.o) || !same_bias(x.mlp.down, y.mlp.down)) {
    return "its biases";
  }
  return {};
}

}  // namespace

std::string DifferenceOf(const Network& a, const Network& b) {
  if (a.hidden != b.hidden || a.vocab != b.vocab || a.kv_heads != b.kv_heads || a.head_dim != b.head_dim ||
      a.layers.size() != b.layers.size()) {
    return "sizes";
  }
  if (a.context_length != b.context_length) return "the context length";
  if (!Near(a.embedding_scale, b.embedding_scale)) return "the scale of embeddings";
  if (!Near(a.residual_multiplier, b.residual_multiplier)) return "the multiplier of residuals";
  if (!Near(a.logits_scale, b.logits_scale) || !Near(a.logits_softcap, b.logits_softcap)) return "the scale of logits";
  if (!SameNorm(a.final_norm, b.final_norm)) return "the last norm";
  if (a.tied != b.tied) return "whether the head is the embedding";
  for (size_t i = 0; i < a.layers.size(); ++i) {
    if (const std::string what = LayerDifference(a, a.layers[i], b, b.layers[i]); !what.empty()) {
      return fmt::format("layer {}: {}", i, what);
    }
  }
  return {};
}

}  // namespace causeway::model::quantize
