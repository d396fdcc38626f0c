#include "kernels/op_trace.h"

#include <utility>

#include "base/check.h"
#include "base/clock.h"

namespace causeway::kernels {
namespace {

// Ops are plain functions: what they trace to is the thread's.
thread_local OpTrace* current_trace = nullptr;

template <typename Args>
using Entry = void (*Ops::*)(Stream&, const Args&);

template <typename Args, Entry<Args> kEntry, const char* kName>
void Timed(Stream& stream, const Args& args) {
  CHECK(current_trace != nullptr);
  const Ops& inner = current_trace->inner();
  const Instant start = Clock::now();
  (inner.*kEntry)(stream, args);
  const double seconds = ToSeconds(Clock::now() - start);
  if constexpr (std::is_same_v<Args, LinearArgs>) {
    current_trace->Add(current_trace->NameOf(args), seconds, CostOf(inner, args));
  } else {
    current_trace->Add(kName, seconds, CostOf(inner, args));
  }
}

// An entry without a row here would run untraced, and its time count as outside of all ops.
constexpr size_t kEntries = 14;
static_assert(sizeof(Ops) == offsetof(Ops, embed) + kEntries * sizeof(Ops::embed), "a new op needs a row below");

Ops Decorate(Ops ops) {
#define CAUSEWAY_TRACE(args, entry)              \
  {                                              \
    static constexpr char kName[] = #entry;      \
    ops.entry = Timed<args, &Ops::entry, kName>; \
  }
  CAUSEWAY_TRACE(EmbedArgs, embed)
  CAUSEWAY_TRACE(LinearArgs, linear)
  CAUSEWAY_TRACE(LowRankArgs, low_rank)
  CAUSEWAY_TRACE(SparseArgs, sparse)
  CAUSEWAY_TRACE(RmsNormArgs, rms_norm)
  CAUSEWAY_TRACE(LayerNormArgs, layer_norm)
  CAUSEWAY_TRACE(RopeArgs, rope)
  CAUSEWAY_TRACE(ActivationArgs, activation)
  CAUSEWAY_TRACE(AddScaledArgs, add_scaled)
  CAUSEWAY_TRACE(ScaleCapArgs, scale_cap)
  CAUSEWAY_TRACE(KvStoreArgs, kv_store)
  CAUSEWAY_TRACE(AttentionArgs, attention)
  CAUSEWAY_TRACE(SampleArgs, sample)
  CAUSEWAY_TRACE(ScoreArgs, score)
#undef CAUSEWAY_TRACE
  return ops;
}

}  // namespace

OpTrace::OpTrace(const Ops& inner) : inner_(inner), traced_(Decorate(inner)) {
  CHECK_MSG(current_trace == nullptr, "one trace a thread at a time");
  current_trace = this;
}

OpTrace::~OpTrace() { current_trace = nullptr; }

std::string_view OpTrace::NameOf(const LinearArgs& args) const {
  const auto found = weight_names_.find(args.targets[0].weight.data);
  return found == weight_names_.end() ? std::string_view("linear") : std::string_view(found->second);
}

void OpTrace::Add(std::string_view name, double seconds, const OpCost& cost) {
  for (TracedOp& op : called_) {
    if (op.name == name) {
      ++op.calls;
      op.seconds += seconds;
      op.cost += cost;
      return;
    }
  }
  called_.push_back({std::string(name), 1, seconds, cost});
}

std::vector<TracedOp> OpTrace::Take() { return std::exchange(called_, {}); }

}  // namespace causeway::kernels
