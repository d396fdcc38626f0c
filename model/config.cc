#include "model/config.h"

#include <cmath>

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

Result<int64_t> Config::Int(const char* name, int64_t low, int64_t high,
                            std::optional<int64_t> fallback) const {
  const Json* const value = Find(name);
  if (value == nullptr) {
    return fallback ? Result<int64_t>(*fallback) : Bad(name, "is missing");
  }
  const bool fits = value->is_number_integer() &&
                    !(value->is_number_unsigned() && value->get<uint64_t>() > uint64_t{1} << 62);
  if (!fits || value->get<int64_t>() < low || value->get<int64_t>() > high) {
    return Bad(name, fmt::format("must be a whole number from {} to {}, not {}", low, high,
                                 DumpJson(*value).substr(0, 40)));
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

Result<RopeSettings> ReadRope(const Config& config, const char* layer_type) {
  RopeSettings settings;
  ASSIGN_OR_RETURN(settings.theta, config.Number("rope_theta", 10000.0));
  settings.scaling = config.Find("rope_scaling");
  if (const Json* parameters = config.Find("rope_parameters")) {
    if (!parameters->is_object()) {
      return Bad("rope_parameters", "must be an object");
    }
    const auto nested = parameters->find(layer_type);
    if (nested != parameters->end()) {
      if (!nested->is_object()) {
        return Bad("rope_parameters", "must hold objects");
      }
      parameters = &*nested;
    }
    settings.scaling = parameters;
    const auto theta = parameters->find("rope_theta");
    if (theta != parameters->end() && theta->is_number()) {
      settings.theta = theta->get<double>();
    }
  }
  if (settings.scaling != nullptr && !settings.scaling->is_object()) {
    return Bad("rope_scaling", "must be an object");
  }
  return settings;
}

}  // namespace causeway::model
