// Reading of stage objects: fields with a message that names the stage.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"
#include "fmt/format.h"
#include "model/tokenizer/regex.h"

namespace causeway::model::tokenizer {

inline std::string StageType(const Json& json) {
  const auto it = json.is_object() ? json.find("type") : json.end();
  return json.is_object() && it != json.end() && it->is_string() ? it->get<std::string>() : std::string();
}

inline Result<std::string> StageText(const Json& json, const char* name) {
  const auto it = json.find(name);
  if (it == json.end() || !it->is_string()) {
    return MakeError(ErrorCode::kInvalidArgument, fmt::format("{}: no string '{}'", StageType(json), name));
  }
  return it->get<std::string>();
}

inline bool StageFlag(const Json& json, const char* name, bool fallback) {
  const auto it = json.find(name);
  return it != json.end() && it->is_boolean() ? it->get<bool>() : fallback;
}

inline std::string StageTextOr(const Json& json, const char* name, const char* fallback) {
  const auto it = json.find(name);
  return it != json.end() && it->is_string() ? it->get<std::string>() : std::string(fallback);
}

// The text of a pattern of type Regex; empty if it has another one.
inline std::string StageRegexText(const Json& json) {
  const auto it = json.find("pattern");
  const bool object = it != json.end() && it->is_object();
  return object ? StageTextOr(*it, "Regex", "") : std::string();
}

// {"String": "..."} or {"Regex": "..."}.
inline Result<Regex> StagePattern(const Json& json) {
  const auto it = json.find("pattern");
  if (it != json.end() && it->is_object()) {
    if (const auto text = it->find("String"); text != it->end() && text->is_string()) {
      return Regex::Literal(text->get<std::string>());
    }
    if (const auto regex = it->find("Regex"); regex != it->end() && regex->is_string()) {
      return Regex::Compile(regex->get<std::string>());
    }
  }
  return MakeError(ErrorCode::kInvalidArgument, StageType(json) + ": no pattern of type String or Regex");
}

}  // namespace causeway::model::tokenizer
