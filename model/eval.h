// Evaluation of a model: perplexity over a text, exact answers to retrieval items. The protocols are those
// of model/builtin/fable/README.md.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"
#include "base/thread_pool.h"
#include "kernels/ops.h"
#include "model/model.h"
#include "scheduler/adapter.h"

namespace causeway::model {

// fraction in [0, 1]; `detail` is the score so far.
using EvalProgress = std::function<void(double fraction, std::string_view detail)>;

struct PerplexityResult {
  int64_t tokens = 0;  // scored
  double nll = 0;      // mean negative log likelihood, natural
  double perplexity = 0;
};

struct EvalRun {
  kernels::KvFormat kv_format = kernels::KvFormat::kF32;
  const scheduler::Adapter* adapter = nullptr;  // of this model; null: the model as it is
};

// Windows of `window` positions (the first is the begin-of-text token) every `stride` tokens; a token is
// scored in the first window that holds it. kInvalidArgument for a window over the model's context length.
Result<PerplexityResult> EvalPerplexity(const Model& model, const kernels::Ops& ops, ThreadPool& pool,
                                        const EvalRun& run, std::string_view text, int64_t window, int64_t stride,
                                        const EvalProgress& progress);

struct RetrievalResult {
  struct Score {
    int64_t correct = 0;
    int64_t items = 0;
  };
  Score all;
  std::map<std::string, Score> per_kind;
  std::map<int64_t, Score> per_bucket;
  std::map<std::pair<std::string, int64_t>, Score> per_kind_and_bucket;
};

// One JSON object a line: prompt, answer_tokens, kind, bucket. Right if the greedy tokens are equal.
// An item that does not fit the model's context, or no item at all, is kInvalidArgument.
Result<RetrievalResult> EvalRetrieval(const Model& model, const kernels::Ops& ops, ThreadPool& pool, const EvalRun& run,
                                      std::string_view items_jsonl, const EvalProgress& progress);

}  // namespace causeway::model
