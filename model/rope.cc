#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>
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
    if (it == json_.end() || !it->is_number()) {
      return MakeError(ErrorCode::kInvalidArgument, fmt::format("rope scaling: no number {}", name));
    }
    return it->get<double>();
  }
  Result<double> Number(const char* name, double fallback) const {
    const auto it = json_.find(name);
    return it == json_.end() || it->is_null() ? Result<double>(fallback) : Number(name);
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
  bool Flag(const char* name, bool fallback) const {
    const auto it = json_.find(name);
    return it != json_.end() && it->is_boolean() ? it->get<bool>() : fallback;
  }

 private:
  const Json& json_;
};

// theta^(-2i / dim)
double BaseFrequency(const RopeInputs& inputs, int64_t i) {
  return std::pow(inputs.theta, -2.0 * static_cast<double>(i) / static_cast<double>(inputs.rotary_dim));
}

template <typename F>
std::vector<float> Frequencies(const RopeInputs& inputs, F f) {
  std::vector<float> values;
  for (int64_t i = 0; i < inputs.rotary_dim / 2; ++i) {
    values.push_back(static_cast<float>(f(i, BaseFrequency(inputs, i))));
  }
  return values;
}

Result<void> MakeLinear(const RopeInputs& inputs, const Fields& fields, Rope& rope) {
  ASSIGN_OR_RETURN(const double factor, fields.Number("factor"));
  rope.inverse_frequency = Frequencies(inputs, [&](int64_t, double f) { return f / factor; });
  return {};
}

Result<void> MakeLlama3(const RopeInputs& inputs, const Fields& fields, Rope& rope) {
  ASSIGN_OR_RETURN(const double factor, fields.Number("factor"));
  ASSIGN_OR_RETURN(const double low, fields.Number("low_freq_factor"));
  ASSIGN_OR_RETURN(const double high, fields.Number("high_freq_factor"));
  ASSIGN_OR_RETURN(const double original, fields.Number("original_max_position_embeddings"));
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
  ASSIGN_OR_RETURN(const double factor, fields.Number("factor"));
  ASSIGN_OR_RETURN(const double beta_fast, fields.Number("beta_fast", 32));
  ASSIGN_OR_RETURN(const double beta_slow, fields.Number("beta_slow", 1));
  ASSIGN_OR_RETURN(const double original,
                   fields.Number("original_max_position_embeddings",
                                 static_cast<double>(inputs.max_position_embeddings)));
  ASSIGN_OR_RETURN(const double mscale, fields.Number("mscale", 0));
  ASSIGN_OR_RETURN(const double mscale_all, fields.Number("mscale_all_dim", 0));
  const double default_factor = mscale != 0 && mscale_all != 0
                                    ? YarnScale(factor, mscale) / YarnScale(factor, mscale_all)
                                    : YarnScale(factor, 1.0);
  ASSIGN_OR_RETURN(const double attention, fields.Number("attention_factor", default_factor));
  rope.attention_factor = static_cast<float>(attention);
  const auto dim = static_cast<double>(inputs.rotary_dim);
  const auto correction = [&](double rotations) {
    return dim * std::log(original / (rotations * 2 * std::numbers::pi)) / (2 * std::log(inputs.theta));
  };
  double low = correction(beta_fast);
  double high = correction(beta_slow);
  if (fields.Flag("truncate", true)) {
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

Result<void> MakeLongRope(const RopeInputs& inputs, const Fields& fields, Rope& rope) {
  const auto half = static_cast<size_t>(inputs.rotary_dim / 2);
  ASSIGN_OR_RETURN(const auto short_factor, fields.List("short_factor", half));
  ASSIGN_OR_RETURN(const auto long_factor, fields.List("long_factor", half));
  const int64_t top = inputs.original_max_position_embeddings;
  ASSIGN_OR_RETURN(const double original,
                   fields.Number("original_max_position_embeddings",
                                 static_cast<double>(top > 0 ? top : inputs.max_position_embeddings)));
  if (!(original > 1)) {
    return MakeError(ErrorCode::kInvalidArgument, "rope scaling: bad original_max_position_embeddings");
  }
  ASSIGN_OR_RETURN(const double factor,
                   fields.Number("factor", static_cast<double>(inputs.max_position_embeddings) / original));
  const double default_attention =
      factor <= 1 ? 1.0 : std::sqrt(1 + std::log(factor) / std::log(original));
  ASSIGN_OR_RETURN(const double attention, fields.Number("attention_factor", default_attention));
  rope.attention_factor = static_cast<float>(attention);
  rope.long_beyond = static_cast<int64_t>(original);
  rope.inverse_frequency = Frequencies(
      inputs, [&](int64_t i, double f) { return f / short_factor[static_cast<size_t>(i)]; });
  rope.inverse_frequency_long = Frequencies(
      inputs, [&](int64_t i, double f) { return f / long_factor[static_cast<size_t>(i)]; });
  return {};
}

std::string TypeOf(const Json& scaling) {
  for (const char* key : {"rope_type", "type"}) {
    const auto it = scaling.find(key);
    if (it != scaling.end() && it->is_string()) {
      return it->get<std::string>();
    }
  }
  return "default";
}

using Maker = Result<void> (*)(const RopeInputs&, const Fields&, Rope&);
struct ScalingRow {
  const char* type;
  Maker make;
};
constexpr ScalingRow kScalings[] = {
    {"linear", MakeLinear}, {"llama3", MakeLlama3}, {"yarn", MakeYarn}, {"longrope", MakeLongRope},
    {"su", MakeLongRope},
};

}  // namespace

Result<Rope> MakeRope(const RopeInputs& inputs) {
  if (inputs.rotary_dim < 2 || inputs.rotary_dim % 2 != 0 || !(inputs.theta > 0)) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("rope: {} rotary dimensions with theta {}", inputs.rotary_dim, inputs.theta));
  }
  Rope rope;
  rope.rotary_dim = inputs.rotary_dim;
  const std::string type = inputs.scaling == nullptr ? "default" : TypeOf(*inputs.scaling);
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
