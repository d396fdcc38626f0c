#include "kernels/ref/ref.h"
#include "kernels/sampling.h"

namespace causeway::kernels::ref {

const Ops kOps = {
    .name = "ref",
    .description = "the specification: scalar, sums in double; any machine",
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

}  // namespace causeway::kernels::ref
