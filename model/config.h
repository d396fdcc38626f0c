// config.json of a Hugging Face model, read with every field checked. Both spellings: transformers 4
// (rope_theta, rope_scaling, torch_dtype) and 5 (rope_parameters, dtype).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
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
  Result<std::vector<std::string>> TextList(const char* name) const;      // empty if absent
  Result<std::vector<int64_t>> IntList(const char* name) const;           // empty if absent
  bool Has(const char* name) const;                                       // present and not null
  bool Mentions(const char* name) const { return json_.contains(name); }  // present, be it null
  const Json* Find(const char* name) const;                               // null if absent or null

 private:
  Json json_;
};

// `config` plus those members of the object in `defaults` (JSON text of ours) that it lacks. A null in the
// file stays: it says "none", where absence says "as usual".
Json WithDefaults(Json config, std::string_view defaults);

// The text model's configuration: of a multimodal wrapper its text_config, where what the wrapper says about tying
// counts if the text model says nothing.
struct TextConfig {
  Json config;
  bool wrapped = false;
};
TextConfig UnwrapText(const Json& config);

// One id, a list of ids, or nothing.
Result<std::vector<Token>> ReadTokenIds(const Json& json, const char* name);

// The rope settings of one kind of layer.
struct RopeSettings {
  double theta = 10000.0;
  double rotary_fraction = 1.0;   // partial_rotary_factor: the share of a head that turns
  const Json* scaling = nullptr;  // the scaling object in either spelling; null: none
};
// Of all layers, or of the global ones where local layers differ: rope_theta with rope_scaling (v4), or
// rope_parameters, flat or nested by layer type (v5).
Result<RopeSettings> ReadRope(const Config& config);
// Of local layers that have a base of their own: rope_local_base_freq without scaling (v4), or
// rope_parameters.sliding_attention (v5).
Result<RopeSettings> ReadLocalRope(const Config& config);

}  // namespace causeway::model
