// Reference kernels: the specification of every op, scalar and obvious, sums in double. Fast tables are
// tested against these. They are a table of their own ("ref"), so any model runs on them, slowly.
#pragma once

#include "kernels/ops.h"

namespace causeway::kernels::ref {

void Embed(Stream& stream, const EmbedArgs& args);
void Linear(Stream& stream, const LinearArgs& args);
void LinearPanels(Stream& stream, const LinearArgs& args);  // those targets whose weights are in panels
void LowRank(Stream& stream, const LowRankArgs& args);
void Sparse(Stream& stream, const SparseArgs& args);
void RmsNorm(Stream& stream, const RmsNormArgs& args);
void LayerNorm(Stream& stream, const LayerNormArgs& args);
void Rope(Stream& stream, const RopeArgs& args);
void Activate(Stream& stream, const ActivationArgs& args);
void AddScaled(Stream& stream, const AddScaledArgs& args);
void ScaleCap(Stream& stream, const ScaleCapArgs& args);
void KvStore(Stream& stream, const KvStoreArgs& args);
void Attention(Stream& stream, const AttentionArgs& args);

extern const Ops kOps;

}  // namespace causeway::kernels::ref
