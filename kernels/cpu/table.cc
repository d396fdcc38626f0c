#include "kernels/cpu/ops.h"
#include "kernels/sampling.h"

#define CAUSEWAY_TEXT_INNER(x) #x
#define CAUSEWAY_TEXT(x) CAUSEWAY_TEXT_INNER(x)

namespace causeway::kernels::CAUSEWAY_ISA {

const Ops kOps = {
    .name = CAUSEWAY_TEXT(CAUSEWAY_ISA),
    .description = CAUSEWAY_ISA_NEEDS,
#if defined(CAUSEWAY_ISA_AVX512_BF16)
    .rounds_x_beyond = 512,  // small networks show rounding most, and gain least from speed
#endif
    .embed = Embed,
    .linear = Linear,
    .low_rank = LowRank,
    .sparse = Sparse,
    .rms_norm = RmsNorm,
    .layer_norm = LayerNorm,
    .rope = Rope,
    .activation = Activate,
    .add_scaled = AddScaled,
    .scale_cap = ScaleCap,
    .kv_store = KvStore,
    .attention = Attention,
    .sample = SampleRows,
    .score = ScoreRows,
};

}  // namespace causeway::kernels::CAUSEWAY_ISA
