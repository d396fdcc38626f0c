#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>
#include <string>

#include "fmt/format.h"

namespace causeway::model {
namespace {

// The numbers of a scaling object, with the field's name in every error.
class Fields {
 public:
  explicit Fields(const Json& json) : json_(json) {}

  Result<double> Number(const char* name) const {
    const auto it = json_.find(name);
    if (it == json_.end() || !it->is_number() || !std::isfinite(it->get<double>())) {
      return MakeError(ErrorCode::kInvalidArgument, fmt::format("rope scaling: no number {}", name));
    }
    return it->get<double>();
  }
  Result<double> Number(const char* name, double fallback) const {
    const auto it = json_.find(name);
    return it == json_.end() || it->is_null() ? Result<double>(fallback) : Number(name);
  }
  Result<double> Positive(const char* name, std::optional<double> fallback = std::nullopt) const {
    ASSIGN_OR_RETURN(const double value, fallback ? Number(name, *fallback) : Number(name));
    if (!(value > 0)) {
      return MakeError(ErrorCode::kInvalidArgument,
                       fmt::format("rope scaling: {} must be above 0, not {}", name, value));
    }
    return value;
  }
  Result<std::vector<double>> List(const char* name, size_t size) const {
    const auto it = json_.find(name);
    if (it == json_.end() || !it->is_array() || it->size() != size) {
      return MakeError(ErrorCode::kInvalidArgument,
                       fmt::format("rope scaling: {} is no list of {} numbers", name, size));
    }
    std::vector<double> values;
    for (const Json& value : *it) {
      if (!value.is_number() || !(value.get<double>() > 0)) {
        return MakeError(ErrorCode::kInvalidArgument, fmt::format("rope scaling: bad value in {}", name));
      }
      values.push_back(value.get<double>());
    }
    return values;
  }
  Result<bool> Flag(const char* name, bool fallback) const {
    const auto it = json_.find(name);
    if (it == json_.end() || it->is_null()) {
      return fallback;
    }
    if (!it->is_boolean()) {
      return MakeError(ErrorCode::kInvalidArgument, fmt::format("rope scaling: {} is no boolean", name));
    }
    return it->get<bool>();
  }

 private:
  const Json& json_;
};

// The context length that a scaling stretches. The top level of the configuration goes first, as in
// Phi-3's files; without any, it is the length that the model has.
Result<double> OriginalLength(const RopeInputs& inputs, const Fields& fields) {
  if (inputs.original_max_position_embeddings > 0) {
    return static_cast<double>(inputs.original_max_position_embeddings);
  }
  return fields.Positive("original_max_position_embeddings", static_cast<double>(inputs.max_position_embeddings));
}

// theta^(-2i / dim)
double BaseFrequency(const RopeInputs& inputs, int64_t i) {
  return std::pow(inputs.theta, -2.0 * static_cast<double>(i) / static_cast<double>(inputs.dimensions));
}

template <typename F>
std::vector<float> Frequencies(const RopeInputs& inputs, F f) {
  std::vector<float> values;
  for (int64_t i = 0; i < (inputs.dimensions + 1) / 2; ++i) {
    values.push_back(static_cast<float>(f(i, BaseFrequency(inputs, i))));
  }
  return values;
}

Result<void> MakeLinear(const RopeInputs& inputs, const Fields& fields, Rope& rope) {
  ASSIGN_OR_RETURN(const double factor, fields.Positive("factor"));
  rope.inverse_frequency = Frequencies(inputs, [&](int64_t, double f) { return f / factor; });
  return {};
}

Result<void> MakeLlama3(const RopeInputs& inputs, const Fields& fields, Rope& rope) {
  ASSIGN_OR_RETURN(const double factor, fields.Positive("factor"));
  ASSIGN_OR_RETURN(const double low, fields.Positive("low_freq_factor"));
  ASSIGN_OR_RETURN(const double high, fields.Positive("high_freq_factor"));
  ASSIGN_OR_RETURN(const double original, OriginalLength(inputs, fields));
  if (!(low < high)) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("rope scaling: low_freq_factor {} is not below high_freq_factor {}", low, high));
  }
  rope.inverse_frequency = Frequencies(inputs, [&](int64_t, double f) {
    const double wavelength = 2 * std::numbers::pi / f;
    if (wavelength < original / high) {
      return f;
    }
    if (wavelength > original / low) {
      return f / factor;
    }
    const double smooth = (original / wavelength - low) / (high - low);
    return (1 - smooth) * f / factor + smooth * f;
  });
  return {};
}

double YarnScale(double scale, double multiplier) {
  return scale <= 1 ? 1.0 : 0.1 * multiplier * std::log(scale) + 1.0;
}

Result<void> MakeYarn(const RopeInputs& inputs, const Fields& fields, Rope& rope) {
  ASSIGN_OR_RETURN(const double original, OriginalLength(inputs, fields));
  ASSIGN_OR_RETURN(const double factor,
                   fields.Positive("factor", static_cast<double>(inputs.max_position_embeddings) / original));
  ASSIGN_OR_RETURN(const double beta_fast, fields.Positive("beta_fast", 32));
  ASSIGN_OR_RETURN(const double beta_slow, fields.Positive("beta_slow", 1));
  if (inputs.theta == 1) {
    return MakeError(ErrorCode::kInvalidArgument, "rope scaling: yarn needs a rope_theta other than 1");
  }
  ASSIGN_OR_RETURN(const double mscale, fields.Number("mscale", 0));
  ASSIGN_OR_RETURN(const double mscale_all, fields.Number("mscale_all_dim", 0));
  const double default_factor = mscale != 0 && mscale_all != 0
                                    ? YarnScale(factor, mscale) / YarnScale(factor, mscale_all)
                                    : YarnScale(factor, 1.0);
  ASSIGN_OR_RETURN(const double attention, fields.Positive("attention_factor", default_factor));
  rope.attention_factor = static_cast<float>(attention);
  const auto dim = static_cast<double>(inputs.dimensions);
  const auto correction = [&](double rotations) {
    return dim * std::log(original / (rotations * 2 * std::numbers::pi)) / (2 * std::log(inputs.theta));
  };
  double low = correction(beta_fast);
  double high = correction(beta_slow);
  ASSIGN_OR_RETURN(const bool truncate, fields.Flag("truncate", true));
  if (truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1);
  if (low == high) {
    high += 0.001;
  }
  rope.inverse_frequency = Frequencies(inputs, [&](int64_t i, double f) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    return f / factor * ramp + f * (1 - ramp);
  });
  return {};
}

// A divisor for each frequency, as GGUF files carry what llama3's scaling comes to; perhaps a linear factor with them.
Result<void> MakeFrequencyFactors(const RopeInputs& inputs, const Fields& fields, Rope& rope) {
  const auto half = static_cast<size_t>((inputs.dimensions + 1) / 2);
  ASSIGN_OR_RETURN(const auto factors, fields.List("frequency_factors", half));
  ASSIGN_OR_RETURN(const double factor, fields.Positive("factor", 1));
  rope.inverse_frequency =
      Frequencies(inputs, [&](int64_t i, double f) { return f / factors[static_cast<size_t>(i)] / factor; });
  return {};
}

Result<void> MakeLongRope(const RopeInputs& inputs, const Fields& fields, Rope& rope) {
  const auto half = static_cast<size_t>((inputs.dimensions + 1) / 2);
  ASSIGN_OR_RETURN(const auto short_factor, fields.List("short_factor", half));
  ASSIGN_OR_RETURN(const auto long_factor, fields.List("long_factor", half));
  ASSIGN_OR_RETURN(const double original, OriginalLength(inputs, fields));
  if (!(original > 1)) {
    return MakeError(ErrorCode::kInvalidArgument, "rope scaling: bad original_max_position_embeddings");
  }
  ASSIGN_OR_RETURN(const double factor,
                   fields.Positive("factor", static_cast<double>(inputs.max_position_embeddings) / original));
  const double default_attention = factor <= 1 ? 1.0 : std::sqrt(1 + std::log(factor) / std::log(original));
  ASSIGN_OR_RETURN(const double attention, fields.Positive("attention_factor", default_attention));
  rope.attention_factor = static_cast<float>(attention);
  rope.long_beyond = static_cast<int64_t>(original);
  rope.inverse_frequency =
      Frequencies(inputs, [&](int64_t i, double f) { return f / short_factor[static_cast<size_t>(i)]; });
  rope.inverse_frequency_long =
      Frequencies(inputs, [&](int64_t i, double f) { return f / long_factor[static_cast<size_t>(i)]; });
  return {};
}

Result<std::string> TypeOf(const RopeInputs& inputs) {
  for (const char* key : {"rope_type", "type"}) {
    const auto it = inputs.scaling == nullptr ? Json::const_iterator() : inputs.scaling->find(key);
    if (inputs.scaling == nullptr || it == inputs.scaling->end() || it->is_null()) {
      continue;
    }
    if (!it->is_string()) {
      return MakeError(ErrorCode::kInvalidArgument, fmt::format("rope scaling: {} is no string", key));
    }
    const std::string type = it->get<std::string>();
    return inputs.yarn_is_longrope && type == "yarn" ? "longrope" : type;
  }
  return std::string("default");
}

using Maker = Result<void> (*)(const RopeInputs&, const Fields&, Rope&);
struct ScalingRow {
  const char* type;
  Maker make;
};
constexpr ScalingRow kScalings[] = {
    {"linear", MakeLinear},     {"llama3", MakeLlama3}, {"yarn", MakeYarn},
    {"longrope", MakeLongRope}, {"su", MakeLongRope},   {"frequency_factors", MakeFrequencyFactors},
};

}  // namespace

Result<Rope> MakeRope(const RopeInputs& inputs) {
  if (inputs.dimensions < 1 || !(inputs.theta > 0) || !std::isfinite(inputs.theta)) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("rope: {} rotary dimensions with theta {}", inputs.dimensions, inputs.theta));
  }
  Rope rope;
  rope.rotary_dim = inputs.dimensions + inputs.dimensions % 2;
  ASSIGN_OR_RETURN(const std::string type, TypeOf(inputs));
  if (type == "default") {
    rope.inverse_frequency = Frequencies(inputs, [](int64_t, double f) { return f; });
    return rope;
  }
  for (const ScalingRow& row : kScalings) {
    if (type == row.type) {
      TRY(row.make(inputs, Fields(*inputs.scaling), rope));
      return rope;
    }
  }
  return MakeError(ErrorCode::kUnsupported,
                   fmt::format("rope scaling '{}' is not served; known: default, linear, llama3, yarn, "
                               "longrope",
                               type));
}

void FillRotation(const Rope& rope, int64_t position, int64_t length_limit, std::span<float> cosine,
                  std::span<float> sine) {
  const bool use_long = !rope.inverse_frequency_long.empty() && length_limit > rope.long_beyond;
  const std::vector<float>& frequency = use_long ? rope.inverse_frequency_long : rope.inverse_frequency;
  for (size_t i = 0; i < frequency.size(); ++i) {
    const float angle = static_cast<float>(position) * frequency[i];
    cosine[i] = std::cos(angle) * rope.attention_factor;
    sine[i] = std::sin(angle) * rope.attention_factor;
  }
}

}  // namespace causeway::model
