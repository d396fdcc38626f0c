// model::Runner runs plans on a Network: the one forward pass of every family.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "base/thread_pool.h"
#include "kernels/ops.h"
#include "memory/kv_geometry.h"
#include "model/model.h"
#include "scheduler/executor.h"

namespace causeway::model {

struct RunnerOptions {
  memory::KvGeometry geometry;
  kernels::KvFormat kv_format = kernels::KvFormat::kF32;
  int64_t max_batched_tokens = 512;  // rows of activations
  int64_t max_num_seqs = 64;         // rows of logits
  kernels::LinearTuning tuning = {};
};

// Owner: one thread (the engine's, or a command's). `model`, `ops` and `pool` outlive it.
class Runner final : public scheduler::Executor {
 public:
  Runner(const Model& model, const kernels::Ops& ops, ThreadPool& pool, const RunnerOptions& options);
  ~Runner() override;

  void Launch(const scheduler::Plan& plan) override;
  Result<const scheduler::StepResult*> Await() override;
  // Gives back activations, and what the mapped weights take; the first step after Wake reads them anew. Packed weights
  // stay.
  Result<void> Sleep() override;
  Result<void> Wake() override;

  // For calibration: runs layers [begin, end) of one step on residual streams that the caller keeps, without the head.
  // hidden: [plan.total_tokens, hidden], read and overwritten; a begin of 0 starts from the embeddings of the plan's
  // tokens instead.
  void RunLayers(const scheduler::Plan& plan, int64_t begin, int64_t end, std::span<float> hidden);
  // Called for linear layers before they are computed; may put other weights in.
  using LinearHook =
      std::function<void(std::span<kernels::LinearTarget> targets, const float* x, int64_t x_stride, int64_t m)>;
  void SetLinearHook(LinearHook hook);

  // For verify and eval: called in Await with the residual stream. index 0: scaled embedding; l: after
  // block l; the last one has the final norm applied (transformers' convention). values: [rows, hidden].
  using HiddenObserver = std::function<void(int index, std::span<const float> values, int64_t rows)>;
  void SetHiddenObserver(HiddenObserver observer);
  // Called in Await with logits of every position of every row: [tokens, vocab] in plan order, cut into
  // runs of at most max_num_seqs positions.
  using LogitsObserver =
      std::function<void(const scheduler::PlanRow& row, int64_t first_position, std::span<const float> logits)>;
  void SetLogitsObserver(LogitsObserver observer);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Bytes of activations and logits that a Runner with these options allocates.
int64_t RunnerBytes(const Model& model, const RunnerOptions& options);

}  // namespace causeway::model
