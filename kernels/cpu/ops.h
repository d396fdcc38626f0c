// The fast ops of one instruction set; each op file defines its functions in namespace CAUSEWAY_ISA.
// LinearPanels does the targets of a linear call whose weights are in panels; Linear calls it.
#pragma once

#include "kernels/ops.h"

namespace causeway::kernels {

#define CAUSEWAY_DECLARE_ISA(isa)                            \
  namespace isa {                                            \
  void Embed(Stream& stream, const EmbedArgs& args);         \
  void Linear(Stream& stream, const LinearArgs& args);       \
  void LinearPanels(Stream& stream, const LinearArgs& args); \
  void LowRank(Stream& stream, const LowRankArgs& args);     \
  void Sparse(Stream& stream, const SparseArgs& args);       \
  void RmsNorm(Stream& stream, const RmsNormArgs& args);     \
  void LayerNorm(Stream& stream, const LayerNormArgs& args); \
  void Rope(Stream& stream, const RopeArgs& args);           \
  void Activate(Stream& stream, const ActivationArgs& args); \
  void AddScaled(Stream& stream, const AddScaledArgs& args); \
  void ScaleCap(Stream& stream, const ScaleCapArgs& args);   \
  void KvStore(Stream& stream, const KvStoreArgs& args);     \
  void Attention(Stream& stream, const AttentionArgs& args); \
  extern const Ops kOps;                                     \
  }

CAUSEWAY_DECLARE_ISA(scalar)
CAUSEWAY_DECLARE_ISA(avx2)
CAUSEWAY_DECLARE_ISA(avx512)
CAUSEWAY_DECLARE_ISA(avx512_bf16)
CAUSEWAY_DECLARE_ISA(avx512_emulated)
CAUSEWAY_DECLARE_ISA(avx512_bf16_emulated)

#undef CAUSEWAY_DECLARE_ISA

}  // namespace causeway::kernels
