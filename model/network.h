// A model as data: embed, layers of (norm, block, residual), norm, head. One forward pass (runner.cc)
// serves every family; a family (model/arch) only fills this in.
//
// Weights are views of the mapped files, or packed copies (packed_weights.h) that replace them; the few tensors that a
// family must transpose, and all vectors (norms, biases), are owned here, vectors as float32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/ops.h"
#include "model/checkpoint.h"
#include "model/files.h"
#include "model/packed_memory.h"
#include "model/rope.h"

namespace causeway::model {

struct Norm {
  enum class Kind : uint8_t { kNone, kRms, kLayer };
  Kind kind = Kind::kNone;
  float eps = 0.0F;
  std::vector<float> weight;  // one-plus-weight models: the one is in it
  std::vector<float> bias;    // LayerNorm; empty if none

  explicit operator bool() const { return kind != Kind::kNone; }
};

struct Projection {
  kernels::WeightView weight;  // [out, in]
  std::vector<float> bias;     // [out] or empty
  // The module of the reference that it is, or a part of (fused QKV): how adapters name it.
  std::string module = {};   // "model.layers.0.self_attn.q_proj"
  int64_t module_first = 0;  // row of the module that is our first
  int64_t module_rows = 0;
};

struct AttentionBlock {
  int64_t heads = 0;
  Projection q, k, v, o;
  Norm q_norm, k_norm;
  bool norm_per_head = true;  // q_norm and k_norm over each head_dim, else over the whole projection
  int rope = -1;              // index into Network::ropes; -1: none
  float scale = 1.0F;
  int64_t window = 0;
  float softcap = 0.0F;
};

struct MlpBlock {
  kernels::Activation activation = kernels::Activation::kSilu;
  bool gated = true;
  Projection gate, up, down;  // ungated: `up` alone feeds the activation
};

struct Layer {
  Norm attention_norm;  // before attention; none in post-norm models
  AttentionBlock attention;
  Norm attention_post_norm;  // on attention's output, before the residual sum
  Norm mlp_norm;
  MlpBlock mlp;
  Norm mlp_post_norm;
};

struct Network {
  std::string family;
  int64_t hidden = 0;
  int64_t vocab = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t context_length = 0;
  kernels::WeightView embedding;  // [vocab, hidden]
  float embedding_scale = 1.0F;
  std::optional<kernels::WeightView> positions;  // learned, [context_length, hidden]
  std::vector<Layer> layers;
  float residual_multiplier = 1.0F;
  Norm final_norm;
  Projection head;  // [vocab, hidden]; the embedding itself if tied
  bool tied = false;
  float logits_scale = 1.0F;
  float logits_softcap = 0.0F;
  std::vector<Rope> ropes;

  // What the views point into.
  std::unique_ptr<ModelFiles> files;
  std::vector<std::vector<std::byte>> owned;
  std::vector<LateRows> late;  // all written once the model is loaded
  ColumnOrders column_orders;
  InputRoundings input_roundings;
  TermsByName terms;
  std::optional<PackedMemory> packed;
};

}  // namespace causeway::model
