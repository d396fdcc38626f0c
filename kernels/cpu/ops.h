// The fast ops of one instruction set; each op file defines its functions in namespace CAUSEWAY_ISA. Of a linear call,
// LinearPanels does the targets whose weights are in panels (rows of x that are not there yet, it makes with `makers`),
// LinearRows the others. A table that only multiplies codes in another way defines LinearPanels and kOps, and takes all
// else from the set that it extends; one that takes another's panels has no LinearPanels of its own; one that only
// multiplies floats in another way defines LinearRows and kOps (kernels/CMakeLists.txt).
#pragma once

#include "kernels/ops.h"

namespace causeway::kernels {

#define CAUSEWAY_DECLARE_ISA(isa)                                               \
  namespace isa {                                                               \
  void Embed(Stream& stream, const EmbedArgs& args);                            \
  void LinearRows(Stream& stream, const LinearArgs& args);                      \
  void LinearPanels(Stream& stream, const LinearArgs& args, const Ops& makers); \
  void LowRank(Stream& stream, const LowRankArgs& args);                        \
  void Sparse(Stream& stream, const SparseArgs& args);                          \
  void RmsNorm(Stream& stream, const RmsNormArgs& args);                        \
  void LayerNorm(Stream& stream, const LayerNormArgs& args);                    \
  void Rope(Stream& stream, const RopeArgs& args);                              \
  void Activate(Stream& stream, const ActivationArgs& args);                    \
  void AddScaled(Stream& stream, const AddScaledArgs& args);                    \
  void ScaleCap(Stream& stream, const ScaleCapArgs& args);                      \
  void KvStore(Stream& stream, const KvStoreArgs& args);                        \
  void Attention(Stream& stream, const AttentionArgs& args);                    \
  extern const Ops kOps;                                                        \
  }

CAUSEWAY_DECLARE_ISA(scalar)
CAUSEWAY_DECLARE_ISA(avx2)
CAUSEWAY_DECLARE_ISA(avx2_vnni)
CAUSEWAY_DECLARE_ISA(avx512)
CAUSEWAY_DECLARE_ISA(avx512_vnni)
CAUSEWAY_DECLARE_ISA(avx512_bf16)
CAUSEWAY_DECLARE_ISA(avx2_vnni_emulated)
CAUSEWAY_DECLARE_ISA(avx512_emulated)
CAUSEWAY_DECLARE_ISA(avx512_bf16_emulated)
CAUSEWAY_DECLARE_ISA(neon)
CAUSEWAY_DECLARE_ISA(neon_dotprod)
CAUSEWAY_DECLARE_ISA(neon_emulated)
CAUSEWAY_DECLARE_ISA(neon_dotprod_emulated)

#undef CAUSEWAY_DECLARE_ISA

}  // namespace causeway::kernels
