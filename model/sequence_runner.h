// Runs sequences on a model without the engine: for evaluation, verification and benchmarks.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "base/token.h"
#include "kernels/ops.h"
#include "memory/kv_cache.h"
#include "model/model.h"
#include "model/runner.h"

namespace causeway::model {

struct SequenceRunnerOptions {
  kernels::KvFormat kv_format = kernels::KvFormat::kF32;
  int64_t max_positions = 0;  // of one sequence
  int64_t max_sequences = 1;
  int64_t chunk = 512;       // prompt tokens of a step
  int64_t logits_rows = 16;  // positions whose logits are computed at once
  kernels::LinearTuning tuning = {};
};

// Owner: one thread. The model, ops and pool outlive it.
class SequenceRunner {
 public:
  static Result<std::unique_ptr<SequenceRunner>> Create(const Model& model, const kernels::Ops& ops, ThreadPool& pool,
                                                        const SequenceRunnerOptions& options);

  // Starts sequence `slot` anew with these tokens; greedy. Returns the next token, or -1 if not wanted.
  // `length_limit` fixes longrope's factors; 0: the tokens' own number.
  Result<Token> Prefill(int64_t slot, std::span<const Token> tokens, bool sample, int64_t length_limit = 0);
  // What sequences of `slot` are computed with from their next Prefill on; null: the model as it is. Outlives them.
  void SetAdapter(int64_t slot, const scheduler::Adapter* adapter) { adapters_[static_cast<size_t>(slot)] = adapter; }
  // Runs layers [begin, end) over a whole sequence, at most a chunk, in slot 0: Runner::RunLayers.
  Result<void> RunLayers(std::span<const Token> tokens, int64_t begin, int64_t end, std::span<float> hidden);
  // Starts a slot anew as if so many tokens had been computed; their rows of the cache hold some constant. For
  // measuring steps at a long context, whose speed does not depend on what they read.
  Result<void> Assume(int64_t slot, int64_t positions);
  // One step for slots [0, tokens.size()): appends tokens[i] and draws the next one greedily.
  Result<std::vector<Token>> Decode(std::span<const Token> tokens);

  Runner& runner() { return *runner_; }
  const memory::KvGeometry& geometry() const { return cache_->geometry(); }

 private:
  struct Slot {
    memory::Span span;
    std::vector<Token> tokens;
    int64_t computed = 0;
    int64_t length_limit = 0;
    scheduler::PlanSegment segment;
  };
  SequenceRunner() = default;
  Result<void> Extend(Slot& slot);
  void AddRow(Slot& slot, size_t index, int64_t count, bool sample);
  Result<const scheduler::StepResult*> RunPlan();

  SequenceRunnerOptions options_;
  std::unique_ptr<memory::KvCache> cache_;
  std::unique_ptr<Runner> runner_;
  std::vector<Slot> slots_;
  std::vector<const scheduler::Adapter*> adapters_;  // by slot
  scheduler::SamplingParams greedy_;
  scheduler::Plan plan_;
};

}  // namespace causeway::model
