// Which tensor becomes what: decided for all before the first is touched, so that sizes are known, and mistakes named,
// before a byte is written.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/quantize/codec.h"
#include "model/quantize/recipe.h"
#include "model/quantize/source.h"

namespace causeway::model::quantize {

struct Override {
  std::string pattern;  // of the tensor's name in the destination, * for anything, ? for one character
  std::string format;
};

struct PlanOptions {
  Recipe recipe;
  std::vector<Override> overrides;  // the last one that matches counts
  std::string output_type;          // of the head; empty: as the recipe says
  std::string embedding_type;       // of the token embedding
  bool leave_output = false;        // the head stays as it is
  bool pure = false;                // no mixture
  int64_t group_size = 0;           // of compressed-tensors; 0: the scheme's, -1: the row
};

struct TensorPlan {
  const SourceTensor* source = nullptr;
  std::unique_ptr<Codec> codec;                      // null: floats
  const CompressedScheme* scheme = nullptr;          // of compressed-tensors
  kernels::FormatId type = kernels::FormatId::kF32;  // where there is no codec
  bool verbatim = false;                             // bytes as they lie
  std::vector<Part> parts;                           // their suffixes are whole names

  std::string format() const;  // as shown to users
  int64_t bytes() const;
};

struct Plan {
  std::vector<TensorPlan> tensors;
  // Schemes with a group size of the caller's own; what TensorPlan::scheme points to.
  std::vector<std::unique_ptr<const CompressedScheme>> schemes;
  // Tensors that are stored the other way round than they are multiplied; what TensorPlan::source points to.
  std::vector<std::unique_ptr<const SourceTensor>> turned;
  std::vector<std::string> notes;
};

// kInvalidArgument: an unknown format, a pattern that matches no matrix, a group size that nothing fits.
Result<Plan> MakePlan(const Source& source, const PlanOptions& options);

}  // namespace causeway::model::quantize
