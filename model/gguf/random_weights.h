// GGUF files of random weights, for benchmarks (model/make_model.h).
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"
#include "kernels/quant/format.h"

namespace causeway::model::gguf {

struct LlamaShape {
  int64_t hidden, layers, heads, kv_heads, head_dim, inner, vocab, context;
};

// Writes a Llama whose matrices are all in `format`, norms float32, with a vocabulary of made-up pieces
// (none below 259). Deterministic; the matrices
// repeat the same quarter million values, because a search for scales over all would take minutes.
Result<void> WriteRandomLlama(const std::string& path, const LlamaShape& shape, const kernels::WeightFormat& format,
                              const std::function<void(double)>& progress);

}  // namespace causeway::model::gguf
