// config.json of a Hugging Face model, read with every field checked. Both spellings: transformers 4
// (rope_theta, rope_scaling, torch_dtype) and 5 (rope_parameters, dtype).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/token.h"

namespace causeway::model {

// A view of one configuration object. Errors name the field.
class Config {
 public:
  explicit Config(Json json) : json_(std::move(json)) {}

  // Whole number in [low, high]. Absent or null: `fallback`, or an error if there is none.
  Result<int64_t> Int(const char* name, int64_t low, int64_t high,
                      std::optional<int64_t> fallback = std::nullopt) const;
  // Finite number. Absent or null: `fallback`, or an error if there is none.
  Result<double> Number(const char* name, std::optional<double> fallback = std::nullopt) const;
  Result<bool> Flag(const char* name, bool fallback) const;
  Result<std::string> Text(const char* name, std::optional<std::string> fallback = std::nullopt) const;
  Result<std::vector<std::string>> TextList(const char* name) const;  // empty if absent
  Result<std::vector<int64_t>> IntList(const char* name) const;       // empty if absent
  bool Has(const char* name) const;                                   // present and not null
  const Json* Find(const char* name) const;                           // null if absent or null

 private:
  Json json_;
};

// One id, a list of ids, or nothing.
Result<std::vector<Token>> ReadTokenIds(const Json& json, const char* name);

// The rope settings of one kind of layer: base, and the scaling object in either spelling (null: none).
struct RopeSettings {
  double theta = 10000.0;
  const Json* scaling = nullptr;
};
// `layer_type` picks from a nested v5 rope_parameters ("full_attention", "sliding_attention").
Result<RopeSettings> ReadRope(const Config& config, const char* layer_type);

}  // namespace causeway::model
