// adapter_config.json as PEFT writes it: which modules have a LoRA term, of what rank and scale. What changes the
// forward pass in another way is refused by name.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace causeway::model::adapter {

inline constexpr int64_t kMaxRank = 4096;  // of any module; --max-lora-rank is lower

struct Config {
  int64_t rank = 8;
  double alpha = 8;
  bool rank_stabilized = false;  // scale alpha / sqrt(rank) instead of alpha / rank (Kalajdzievski 2023)
  // Regular expressions over ends of module names; the first that matches counts.
  struct Pattern {
    std::string expression;
    double value = 0;
  };
  std::vector<Pattern> rank_patterns;
  std::vector<Pattern> alpha_patterns;
  // Names of modules, or their ends behind a dot; or one expression for whole names.
  struct Names {
    std::vector<std::string> ends;
    std::optional<std::string> expression;
    bool empty() const { return ends.empty() && !expression; }
  };
  Names targets;
  bool all_linear = false;  // all but the head
  Names excluded;
  std::vector<int64_t> layers;              // empty: all
  std::vector<std::string> layer_patterns;  // expressions for what stands before a layer's number; empty: any two names
  std::string base_model;                   // a name for people; may be empty
};

// Errors name the field; kUnsupported for kinds of adapters that are not served.
Result<Config> ParseConfig(std::string_view text);

// A module that the configuration chose.
struct Choice {
  size_t module = 0;  // index into the names given
  int64_t rank = 0;
  double scale = 0;
};

// The modules that have a term, by PEFT's rules (peft/tuners/tuners_utils.py, check_target_module_exists and
// get_pattern_key). `modules`: names as the reference has them, the head by `head`. A target or a layer that
// matches none of them is an error that names it.
Result<std::vector<Choice>> ChooseModules(const Config& config, std::span<const std::string> modules,
                                          std::string_view head);

}  // namespace causeway::model::adapter
