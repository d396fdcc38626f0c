#include <algorithm>

#include "kernels/cpu/ops.h"
#include "kernels/rows_op.h"
#include "kernels/sampling.h"

#define CAUSEWAY_TEXT_INNER(x) #x
#define CAUSEWAY_TEXT(x) CAUSEWAY_TEXT_INNER(x)

namespace causeway::kernels::CAUSEWAY_ISA {

// Which set's ops it takes.
#if defined(CAUSEWAY_ISA_PANELS)
namespace panels = CAUSEWAY_ISA_PANELS;
#else
namespace panels = CAUSEWAY_ISA;
#endif
#if defined(CAUSEWAY_ISA_EXTENDS)
namespace rows = CAUSEWAY_ISA_EXTENDS;
namespace others = CAUSEWAY_ISA_EXTENDS;
#else
namespace rows = CAUSEWAY_ISA;
#if defined(CAUSEWAY_ISA_OTHERS)
namespace others = CAUSEWAY_ISA_OTHERS;
#else
namespace others = CAUSEWAY_ISA;
#endif
#endif

namespace {

void Linear(Stream& stream, const LinearArgs& args) {
  if (args.m <= 0) {
    return;
  }
  LinearArgs with_x = args;
  const auto in_rows = [](const LinearTarget& target) { return target.weight.layout == WeightLayout::kRows; };
  if (args.made_by != nullptr && std::any_of(args.targets.begin(), args.targets.end(), in_rows)) {
    MakeRows(kOps, stream, *args.made_by);
    with_x.made_by = nullptr;
  }
  panels::LinearPanels(stream, with_x, kOps);
  rows::LinearRows(stream, with_x);
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
    .embed = others::Embed,
    .linear = Linear,
    .low_rank = others::LowRank,
    .sparse = others::Sparse,
    .rms_norm = others::RmsNorm,
    .layer_norm = others::LayerNorm,
    .rope = others::Rope,
    .activation = others::Activate,
    .add_scaled = others::AddScaled,
    .scale_cap = others::ScaleCap,
    .kv_store = others::KvStore,
    .attention = others::Attention,
    .sample = SampleRows,
    .score = ScoreRows,
};

}  // namespace causeway::kernels::CAUSEWAY_ISA
