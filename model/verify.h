// Checks a model folder against golden values beside its weights (golden.json, golden.safetensors).
#pragma once

#include <string>

#include "base/result.h"
#include "base/thread_pool.h"
#include "base/verify_report.h"
#include "kernels/ops.h"
#include "model/model.h"

namespace causeway::model {

struct VerifyOptions {
  std::string dump;   // writes the logits here, under the golden's names; empty: nowhere
  int64_t chunk = 512;
};

// Tolerances: logits 1e-3 absolute; hidden states 1e-4 of the row's largest magnitude; greedy tokens equal
// wherever the golden's margin exceeds 2e-3. One case a prompt.
Result<VerifyReport> VerifyModel(const std::string& folder, const kernels::Ops& ops, ThreadPool& pool,
                                 const VerifyOptions& options);

}  // namespace causeway::model
