#include "model/adapter/config.h"

#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "fmt/format.h"

namespace causeway::model::adapter {
namespace {

constexpr size_t kMaxPatterns = 4096;
constexpr size_t kMaxNameBytes = 4096;

Error Bad(const std::string& message) {
  return MakeError(ErrorCode::kInvalidArgument, "adapter_config.json: " + message);
}
Error Unserved(const std::string& message) {
  return MakeError(ErrorCode::kUnsupported, "adapter_config.json: " + message);
}

// What PEFT writes where a feature is off.
bool IsOff(const OrderedJson& value) {
  return value.is_null() || value == false || ((value.is_array() || value.is_object()) && value.empty()) || value == "";
}

// Fields that add something to the forward pass that we do not compute.
struct Unserveable {
  const char* field;
  const char* what;
};
constexpr Unserveable kUnserved[] = {
    {"use_dora", "DoRA"},
    {"use_qalora", "QALoRA"},
    {"lora_bias", "biases of the adapter"},
    {"modules_to_save", "modules trained whole"},
    {"trainable_token_indices", "trained tokens"},
    {"target_parameters", "terms of bare parameters"},
    {"alora_invocation_tokens", "activated LoRA"},
    {"layer_replication", "replicated layers"},
    {"arrow_config", "Arrow routing"},
    {"use_bdlora", "block-diagonal LoRA"},
    {"kasa_config", "KaSA"},
    {"monteclora_config", "MonteCLoRA"},
    {"megatron_config", "Megatron's layers"},
};

// Beginnings that change the base's weights too: PEFT computes them anew when it loads the adapter.
constexpr std::string_view kChangesBase[] = {"pissa", "olora", "corda", "loftq", "lora_ga"};

std::string Lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return text;
}

Result<void> RefuseUnserved(const OrderedJson& json) {
  for (const Unserveable& one : kUnserved) {
    if (const auto it = json.find(one.field); it != json.end() && !IsOff(*it)) {
      return Unserved(fmt::format("{} (field {}) is not served", one.what, one.field));
    }
  }
  if (const auto it = json.find("bias"); it != json.end() && *it != "none" && !IsOff(*it)) {
    return Unserved(fmt::format("trained biases (bias {}) are not served, only \"none\"", DumpJson(*it)));
  }
  if (const auto it = json.find("init_lora_weights"); it != json.end() && it->is_string()) {
    const std::string name = Lower(it->get<std::string>());
    for (const std::string_view prefix : kChangesBase) {
      if (name.starts_with(prefix)) {
        return Unserved(fmt::format(
            "init_lora_weights \"{}\" changes the base's weights too; save the adapter converted to plain LoRA", name));
      }
    }
  }
  return {};
}

Result<std::string> NameOf(const OrderedJson& value, const char* field) {
  if (!value.is_string() || value.get_ref<const std::string&>().empty() ||
      value.get_ref<const std::string&>().size() > kMaxNameBytes) {
    return Bad(fmt::format("{} must hold names of 1 to {} bytes", field, kMaxNameBytes));
  }
  return value.get<std::string>();
}

Result<std::vector<std::string>> NameList(const OrderedJson& value, const char* field) {
  std::vector<std::string> names;
  if (!value.is_array() || value.size() > kMaxPatterns) {
    return Bad(fmt::format("{} must be a text or a list of at most {}", field, kMaxPatterns));
  }
  for (const OrderedJson& item : value) {
    ASSIGN_OR_RETURN(names.emplace_back(), NameOf(item, field));
  }
  return names;
}

Result<Config::Names> ReadNames(const OrderedJson& json, const char* field) {
  Config::Names names;
  const auto it = json.find(field);
  if (it == json.end() || it->is_null()) {
    return names;
  }
  if (it->is_string()) {
    ASSIGN_OR_RETURN(names.expression, NameOf(*it, field));
    return names;
  }
  ASSIGN_OR_RETURN(names.ends, NameList(*it, field));
  return names;
}

Result<void> ReadInteger(const OrderedJson& value, const char* field, int64_t low, int64_t high, int64_t& out) {
  const bool good = value.is_number_integer() && value >= low && value <= high;
  if (!good) {
    return Bad(fmt::format("{} must be a whole number from {} to {}", field, low, high));
  }
  out = value.get<int64_t>();
  return {};
}

Result<void> ReadNumber(const OrderedJson& value, const char* field, double& out) {
  if (!value.is_number() || !(std::fabs(value.get<double>()) <= 1e9)) {
    return Bad(fmt::format("{} must be a number of ordinary size", field));
  }
  out = value.get<double>();
  return {};
}

Result<std::vector<Config::Pattern>> ReadPatterns(const OrderedJson& json, const char* field, bool ranks) {
  std::vector<Config::Pattern> patterns;
  const auto it = json.find(field);
  if (it == json.end() || it->is_null()) {
    return patterns;
  }
  if (!it->is_object() || it->size() > kMaxPatterns) {
    return Bad(fmt::format("{} must be an object of at most {} patterns", field, kMaxPatterns));
  }
  for (const auto& [expression, value] : it->items()) {
    Config::Pattern& pattern = patterns.emplace_back();
    ASSIGN_OR_RETURN(pattern.expression, NameOf(expression, field));
    if (ranks) {
      int64_t rank = 0;
      TRY(ReadInteger(value, field, 1, kMaxRank, rank));
      pattern.value = static_cast<double>(rank);
    } else {
      TRY(ReadNumber(value, field, pattern.value));
    }
  }
  return patterns;
}

Result<void> ReadLayers(const OrderedJson& json, Config& config) {
  if (const auto it = json.find("layers_to_transform"); it != json.end() && !IsOff(*it)) {
    const OrderedJson list = it->is_array() ? *it : OrderedJson::array({*it});
    if (list.size() > kMaxPatterns) {
      return Bad("layers_to_transform is too long");
    }
    for (const OrderedJson& layer : list) {
      TRY(ReadInteger(layer, "layers_to_transform", 0, 1 << 20, config.layers.emplace_back()));
    }
  }
  if (const auto it = json.find("layers_pattern"); it != json.end() && !IsOff(*it)) {
    const OrderedJson list = it->is_array() ? *it : OrderedJson::array({*it});
    ASSIGN_OR_RETURN(config.layer_patterns, NameList(list, "layers_pattern"));
  }
  if (config.layers.empty() && !config.layer_patterns.empty()) {
    return Bad("layers_pattern needs layers_to_transform");
  }
  return {};
}

Result<void> ReadScale(const OrderedJson& json, Config& config) {
  if (const auto it = json.find("r"); it != json.end()) {
    TRY(ReadInteger(*it, "r", 1, kMaxRank, config.rank));
  }
  if (const auto it = json.find("lora_alpha"); it != json.end()) {
    TRY(ReadNumber(*it, "lora_alpha", config.alpha));
  }
  if (const auto it = json.find("use_rslora"); it != json.end() && !it->is_null()) {
    if (!it->is_boolean()) {
      return Bad("use_rslora must be true or false");
    }
    config.rank_stabilized = it->get<bool>();
  }
  ASSIGN_OR_RETURN(config.rank_patterns, ReadPatterns(json, "rank_pattern", true));
  ASSIGN_OR_RETURN(config.alpha_patterns, ReadPatterns(json, "alpha_pattern", false));
  return {};
}

}  // namespace

Result<Config> ParseConfig(std::string_view text) {
  const auto parsed = ParseOrderedJson(text, {.max_depth = 16, .max_nodes = 100000, .unique_keys = true});
  if (!parsed.ok()) {
    return parsed.error().WithContext("adapter_config.json");
  }
  const OrderedJson& json = *parsed;
  if (!json.is_object()) {
    return Bad("it must hold an object");
  }
  const auto type = json.find("peft_type");
  if (type == json.end() || *type != "LORA") {
    return Unserved(
        fmt::format("peft_type is {}; only LORA is served", type == json.end() ? "not there" : DumpJson(*type)));
  }
  TRY(RefuseUnserved(json));
  Config config;
  TRY(ReadScale(json, config));
  TRY(ReadLayers(json, config));
  ASSIGN_OR_RETURN(config.targets, ReadNames(json, "target_modules"));
  ASSIGN_OR_RETURN(config.excluded, ReadNames(json, "exclude_modules"));
  if (config.targets.empty()) {
    return Bad("target_modules is missing or empty");
  }
  if (config.targets.expression && Lower(*config.targets.expression) == "all-linear") {
    config.all_linear = true;
    config.targets.expression.reset();
  } else if (config.targets.expression && !config.layers.empty()) {
    return Bad("layers_to_transform goes with a list of target_modules, not with an expression");
  }
  if (const auto base = json.find("base_model_name_or_path"); base != json.end() && base->is_string()) {
    config.base_model = base->get<std::string>();
  }
  return config;
}

}  // namespace causeway::model::adapter
