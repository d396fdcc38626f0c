// The two kinds of destinations. Tensors are handed over in the order of the plan, part by part.
#pragma once

#include <functional>
#include <vector>

#include "base/result.h"
#include "model/quantize/plan.h"

namespace causeway::model::quantize {

// The bytes of the next tensor's parts.
using NextTensor = std::function<Result<std::vector<std::vector<std::byte>>>(size_t index)>;

// A GGUF file: a GGUF source's metadata as they are, or a Hugging Face model's in GGUF's words.
Result<void> WriteGguf(const std::string& path, const Source& source, const Plan& plan, const Recipe& recipe,
                       const NextTensor& next);
// A folder in compressed-tensors' layout: config.json, model.safetensors, and the other small files of the source, or
// what a GGUF file says in their place.
Result<void> WriteHubFolder(const std::string& path, const Source& source, const Plan& plan, const PlanOptions& options,
                            bool act_order, const NextTensor& next);

// What differs between two networks that are to compute the same but for their weights; empty: nothing.
std::string DifferenceOf(const Network& a, const Network& b);

}  // namespace causeway::model::quantize
