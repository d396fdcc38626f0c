// Checks what a model computes against golden values: beside its weights (golden.json, golden.safetensors), or
// given.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "base/verify_report.h"
#include "kernels/ops.h"
#include "model/golden.h"
#include "model/model.h"

namespace causeway::model {

struct VerifyOptions {
  std::string dump;  // writes the logits here, under the golden's names; empty: nowhere
  int64_t chunk = 512;
  bool int8_activations = true;  // of VerifyModel: where kernels have integer arithmetic for the weights
  std::string base = {};  // of VerifyModel with adapters: the model that they are for; empty: as golden.json says
};

// What a model's weights multiply on a table: float32, BF16 in some layers (Ops::rounds_x_beyond), or int8 in some
// (weights in panels).
enum class ActivationRounding : uint8_t { kNone, kBF16, kInt8 };
ActivationRounding RoundingOf(const Model& model, const kernels::Ops& ops);

// One case a prompt. Tolerances in float32: logits 1e-3 absolute; hidden states 1e-4 of the row's largest
// magnitude; greedy tokens equal wherever the golden's margin exceeds 2e-3. Where activations are rounded
// (RoundingOf): mean KL divergence from the golden at most 1e-3 nats a position, of int8 1e-2; the same best token
// at every position, and the same greedy tokens, wherever the golden's margin exceeds 0.1, of int8 0.5.
Result<VerifyReport> VerifyAgainst(const Golden& golden, const Model& model, const kernels::Ops& ops, ThreadPool& pool,
                                   const VerifyOptions& options);

// The same with an adapter (null: none), without writing logits: they are appended to `logits`, under `prefix` and the
// golden's names.
using NamedLogits = std::vector<std::pair<std::string, std::vector<float>>>;
Result<VerifyReport> VerifyRun(const Golden& golden, const Model& model, const scheduler::Adapter* adapter,
                               const kernels::Ops& ops, ThreadPool& pool, const VerifyOptions& options,
                               const std::string& prefix, NamedLogits& logits);
Result<void> DumpLogits(const std::string& path, const NamedLogits& logits, int64_t vocab);

// Loads a folder or a GGUF file and checks it against the golden values beside it, its dequantized weights and its
// tokenizer too where golden.json has them. Where that speaks of files only, each must load or be refused as it says;
// where it has runs of adapters, those are checked (verify_adapters.h).
Result<VerifyReport> VerifyModel(const std::string& path, const kernels::Ops& ops, ThreadPool& pool,
                                 const VerifyOptions& options);

}  // namespace causeway::model
