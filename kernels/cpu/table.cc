#include "kernels/cpu/ops.h"
#include "kernels/sampling.h"

#define CAUSEWAY_TEXT_INNER(x) #x
#define CAUSEWAY_TEXT(x) CAUSEWAY_TEXT_INNER(x)

namespace causeway::kernels::CAUSEWAY_ISA {

#if defined(CAUSEWAY_ISA_EXTENDS)
namespace shared = CAUSEWAY_ISA_EXTENDS;
#else
namespace shared = CAUSEWAY_ISA;
#endif

namespace {

void Linear(Stream& stream, const LinearArgs& args) {
  if (args.m > 0) {
    LinearPanels(stream, args);
    shared::LinearRows(stream, args);
  }
}

}  // namespace

// A constant: nothing that is compiled for an instruction set may run before the machine is asked.
constinit const Ops kOps = {
    .name = CAUSEWAY_TEXT(CAUSEWAY_ISA),
    .description = CAUSEWAY_ISA_NEEDS,
#if defined(CAUSEWAY_ISA_EXTENDS)
    .extends = CAUSEWAY_TEXT(CAUSEWAY_ISA_EXTENDS),
#endif
#if defined(CAUSEWAY_ISA_AVX512_BF16)
    .rounds_x_beyond = 512,  // small networks show rounding most, and gain least from speed
#endif
    .embed = shared::Embed,
    .linear = Linear,
    .low_rank = shared::LowRank,
    .sparse = shared::Sparse,
    .rms_norm = shared::RmsNorm,
    .layer_norm = shared::LayerNorm,
    .rope = shared::Rope,
    .activation = shared::Activate,
    .add_scaled = shared::AddScaled,
    .scale_cap = shared::ScaleCap,
    .kv_store = shared::KvStore,
    .attention = shared::Attention,
    .sample = SampleRows,
    .score = ScoreRows,
};

}  // namespace causeway::kernels::CAUSEWAY_ISA
