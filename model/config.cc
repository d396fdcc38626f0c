#include "model/config.h"

#include <cmath>

#include "base/check.h"
#include "fmt/format.h"

namespace causeway::model {
namespace {

Error Bad(const char* name, const std::string& what) {
  return MakeError(ErrorCode::kInvalidArgument, fmt::format("config.json: {} {}", name, what));
}

}  // namespace

const Json* Config::Find(const char* name) const {
  const auto it = json_.find(name);
  return it == json_.end() || it->is_null() ? nullptr : &*it;
}

bool Config::Has(const char* name) const { return Find(name) != nullptr; }

Result<int64_t> Config::Int(const char* name, int64_t low, int64_t high, std::optional<int64_t> fallback) const {
  const Json* const value = Find(name);
  if (value == nullptr) {
    return fallback ? Result<int64_t>(*fallback) : Bad(name, "is missing");
  }
  const bool fits =
      value->is_number_integer() && !(value->is_number_unsigned() && value->get<uint64_t>() > uint64_t{1} << 62);
  if (!fits || value->get<int64_t>() < low || value->get<int64_t>() > high) {
    return Bad(name,
               fmt::format("must be a whole number from {} to {}, not {}", low, high, DumpJson(*value).substr(0, 40)));
  }
  return value->get<int64_t>();
}

Result<double> Config::Number(const char* name, std::optional<double> fallback) const {
  const Json* const value = Find(name);
  if (value == nullptr) {
    return fallback ? Result<double>(*fallback) : Bad(name, "is missing");
  }
  if (!value->is_number() || !std::isfinite(value->get<double>())) {
    return Bad(name, "must be a number");
  }
  return value->get<double>();
}

Result<bool> Config::Flag(const char* name, bool fallback) const {
  const Json* const value = Find(name);
  if (value == nullptr) {
    return fallback;
  }
  if (!value->is_boolean()) {
    return Bad(name, "must be true or false");
  }
  return value->get<bool>();
}

Result<std::string> Config::Text(const char* name, std::optional<std::string> fallback) const {
  const Json* const value = Find(name);
  if (value == nullptr) {
    return fallback ? Result<std::string>(*fallback) : Bad(name, "is missing");
  }
  if (!value->is_string()) {
    return Bad(name, "must be a string");
  }
  return value->get<std::string>();
}

Result<std::vector<std::string>> Config::TextList(const char* name) const {
  std::vector<std::string> list;
  if (const Json* const value = Find(name)) {
    if (!value->is_array()) {
      return Bad(name, "must be a list");
    }
    for (const Json& item : *value) {
      if (!item.is_string()) {
        return Bad(name, "must be a list of strings");
      }
      list.push_back(item.get<std::string>());
    }
  }
  return list;
}

Result<std::vector<int64_t>> Config::IntList(const char* name) const {
  std::vector<int64_t> list;
  if (const Json* const value = Find(name)) {
    if (!value->is_array()) {
      return Bad(name, "must be a list");
    }
    for (const Json& item : *value) {
      if (!item.is_number_integer()) {
        return Bad(name, "must be a list of whole numbers");
      }
      list.push_back(item.get<int64_t>());
    }
  }
  return list;
}

TextConfig UnwrapText(const Json& config) {
  const auto text = config.find("text_config");
  if (text == config.end() || !text->is_object() || !text->contains("model_type")) {
    return {config, false};
  }
  TextConfig model{*text, true};
  if (config.contains("tie_word_embeddings") && !model.config.contains("tie_word_embeddings")) {
    model.config["tie_word_embeddings"] = config["tie_word_embeddings"];
  }
  return model;
}

Result<std::vector<Token>> ReadTokenIds(const Json& json, const char* name) {
  std::vector<Token> ids;
  const auto it = json.find(name);
  if (it == json.end() || it->is_null()) {
    return ids;
  }
  const Json list = it->is_array() ? *it : Json::array({*it});
  for (const Json& item : list) {
    if (!item.is_number_integer() || item.get<int64_t>() < 0 || item.get<int64_t>() > INT32_MAX) {
      return MakeError(ErrorCode::kInvalidArgument, fmt::format("{} must be token ids", name));
    }
    ids.push_back(item.get<Token>());
  }
  return ids;
}

Json WithDefaults(Json config, std::string_view defaults) {
  const auto extra = ParseJson(defaults);
  CHECK(extra.ok() && extra->is_object());
  for (const auto& [name, value] : extra->items()) {
    if (!config.contains(name)) {
      config[name] = value;
    }
  }
  return config;
}

namespace {

// rope_parameters, or what it holds for `layer_type`; null if absent. `nested` requires the latter.
Result<const Json*> RopeParameters(const Config& config, const char* layer_type, bool nested) {
  const Json* const parameters = config.Find("rope_parameters");
  if (parameters == nullptr) {
    return parameters;
  }
  if (!parameters->is_object()) {
    return Bad("rope_parameters", "must be an object");
  }
  const auto own = parameters->find(layer_type);
  if (own == parameters->end() || own->is_null()) {
    const bool others = parameters->contains("full_attention") || parameters->contains("sliding_attention");
    return nested || others ? nullptr : parameters;
  }
  if (!own->is_object()) {
    return Bad("rope_parameters", "must hold objects");
  }
  return &*own;
}

// A base or a share that stands in the scaling object wins over the one at the top.
Result<double> Override(const Json* scaling, const char* name, double fallback) {
  const auto it = scaling == nullptr ? Json::const_iterator() : scaling->find(name);
  if (scaling == nullptr || it == scaling->end() || it->is_null()) {
    return fallback;
  }
  if (!it->is_number() || !std::isfinite(it->get<double>())) {
    return Bad(name, "must be a number");
  }
  return it->get<double>();
}

Result<RopeSettings> MakeSettings(const Config& config, const char* theta, const Json* scaling) {
  RopeSettings settings;
  settings.scaling = scaling;
  ASSIGN_OR_RETURN(settings.theta, config.Number(theta, 10000.0));
  ASSIGN_OR_RETURN(settings.theta, Override(scaling, "rope_theta", settings.theta));
  ASSIGN_OR_RETURN(settings.rotary_fraction, config.Number("partial_rotary_factor", 1.0));
  ASSIGN_OR_RETURN(settings.rotary_fraction, Override(scaling, "partial_rotary_factor", settings.rotary_fraction));
  if (!(settings.rotary_fraction > 0) || settings.rotary_fraction > 1) {
    return Bad("partial_rotary_factor", "must be above 0 and at most 1");
  }
  return settings;
}

}  // namespace

Result<RopeSettings> ReadRope(const Config& config) {
  const Json* scaling = config.Find("rope_scaling");
  if (scaling != nullptr && !scaling->is_object()) {
    return Bad("rope_scaling", "must be an object");
  }
  if (scaling == nullptr || scaling->empty()) {
    ASSIGN_OR_RETURN(scaling, RopeParameters(config, "full_attention", false));
  }
  return MakeSettings(config, "rope_theta", scaling);
}

Result<RopeSettings> ReadLocalRope(const Config& config) {
  ASSIGN_OR_RETURN(const Json* const scaling, RopeParameters(config, "sliding_attention", true));
  return MakeSettings(config, "rope_local_base_freq", scaling);
}

}  // namespace causeway::model
