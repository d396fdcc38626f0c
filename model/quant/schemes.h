// The config_groups of a compressed-tensors configuration: which modules are quantized how.
#pragma once

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
  // Of the inputs, where they are to be rounded to 8 bits about zero; others (4 bits, asymmetric) are left alone.
  std::optional<kernels::InputRounding> inputs;
  bool inputs_static = false;  // by the module's input_scale
};

// Immutable.
class Schemes {
 public:
  static Result<Schemes> Read(const Config& config);

  // Of a module that has quantized tensors: the scheme whose targets name it, by itself or by a pattern, before one
  // that names its class. Where no target does and there is one scheme alone, that.
  Result<const Scheme*> Of(const std::string& module) const;

 private:
  struct Group {
    Scheme scheme;
    std::vector<std::string> names;
    std::vector<tokenizer::Regex> patterns;
    bool linear = false;  // a target is the class of all linear layers
  };
  static Result<Group> ReadGroup(const Json& json);

  std::vector<Group> groups_;
};

}  // namespace causeway::model::quant
