// The config_groups of a compressed-tensors configuration: which modules are quantized how.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernels/weight_view.h"
#include "model/config.h"
#include "model/tokenizer/regex.h"

namespace causeway::model::quant {

enum class Strategy : uint8_t { kTensor, kChannel, kGroup, kBlock };

// How the weights of a group of modules are quantized.
struct Scheme {
  Strategy strategy = Strategy::kTensor;
  bool is_float = false;
  int bits = 8;
  int64_t group = 0;       // columns that share a scale (kGroup, kBlock)
  int64_t block_rows = 1;  // rows that do (kBlock)
  bool symmetric = true;
  // Of the inputs, where they are to be rounded to 8 bits; others (4 bits, one scale for a batch) are left alone.
  std::optional<kernels::InputRounding> inputs;
  bool inputs_static = false;  // by the module's input_scale, and input_zero_point where not symmetric
};

// Immutable.
class Schemes {
 public:
  static Result<Schemes> Read(const Config& config);

  // Of a module that has quantized tensors: the scheme whose target is its name, else a pattern that its name begins
  // with (of several the first by its text), else its class. Where no target is and there is one scheme alone, that.
  // Source: compressed-tensors' match_targets (utils/match.py).
  Result<const Scheme*> Of(const std::string& module) const;

 private:
  struct Pattern {
    tokenizer::Regex expression;
    size_t scheme;
  };
  Result<void> AddTargets(const Config& group);  // of the scheme added last

  std::vector<Scheme> schemes_;
  std::map<std::string, size_t, std::less<>> names_;      // modules, and classes of modules
  std::map<std::string, Pattern, std::less<>> patterns_;  // by their text
};

}  // namespace causeway::model::quant
