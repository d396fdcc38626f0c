#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>
#include <utility>

#include "fmt/format.h"
#include "model/gguf/architectures.h"
#include "model/gguf/to_hub.h"
#include "model/rope.h"
#include "model/tokenizer/tokenizer.h"

namespace causeway::model::gguf {
namespace {

Error Unsupported(std::string what) { return MakeError(ErrorCode::kUnsupported, std::move(what)); }

// ---- Rope --------------------------------------------------------------------------------------------

constexpr double kNearFactor = 1e-5;  // files hold factors as float32, and some were computed in it

Json Llama3Fields(double factor, double low, double high, double original) {
  return {{"rope_type", "llama3"},
          {"factor", factor},
          {"low_freq_factor", low},
          {"high_freq_factor", high},
          {"original_max_position_embeddings", static_cast<int64_t>(std::llround(original))}};
}

// Whether the fields give the factors, by the code that reads them.
bool Gives(const Json& fields, const std::vector<double>& factors, double theta, int64_t dimensions) {
  const auto rope = MakeRope({.theta = theta, .dimensions = dimensions, .scaling = &fields});
  if (!rope.ok() || rope->inverse_frequency.size() != factors.size()) {
    return false;
  }
  for (size_t i = 0; i < factors.size(); ++i) {
    const double plain = std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(dimensions));
    const double given = plain / static_cast<double>(rope->inverse_frequency[i]);
    if (!(std::fabs(given - factors[i]) <= kNearFactor * factors[i])) {
      return false;
    }
  }
  return true;
}

// Between the two lengths, 1 / factor rises in a line over 1 / wavelength: (1 - s) / F + s with s = (original /
// wavelength - low) / (high - low). The line through its ends gives low = 1, high and the original length.
std::optional<Json> FitBetween(const std::vector<double>& factors, double largest, double theta, int64_t dimensions) {
  std::vector<std::pair<double, double>> points;  // 1 / wavelength, s
  for (size_t i = 0; i < factors.size(); ++i) {
    const double s = (1 / factors[i] - 1 / largest) / (1 - 1 / largest);
    if (s > kNearFactor && s < 1 - kNearFactor) {
      const double frequency = std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(dimensions));
      points.emplace_back(frequency / (2 * std::numbers::pi), s);
    }
  }
  if (points.size() < 2) {
    return std::nullopt;
  }
  const auto& [x, s] = points.front();
  const auto& [x_end, s_end] = points.back();
  const double slope = (s - s_end) / (x - x_end);
  const double below = slope * x - s;  // low / (high - low)
  if (!(slope > 0) || !(below > 0)) {
    return std::nullopt;
  }
  double high = (1 + below) / below;
  if (std::fabs(high - std::round(high)) < 1e-2) {
    high = std::round(high);
  }
  return Llama3Fields(largest, 1.0, high, slope * (high - 1));
}

// Factors become fields that config.json knows, or nothing where they change nothing.
Result<void> NameFactors(Json& config) {
  const auto scaling = config.find("rope_scaling");
  if (scaling == config.end() || (*scaling)["rope_type"] != "frequency_factors") {
    return {};
  }
  const auto factors = (*scaling)["frequency_factors"].get<std::vector<double>>();
  const double factor = (*scaling)["factor"].get<double>();
  const bool plain = std::all_of(factors.begin(), factors.end(), [](double one) { return one == 1; });
  if (plain) {
    config["rope_scaling"] = factor == 1 ? Json() : Json{{"rope_type", "linear"}, {"factor", factor}};
    return {};
  }
  auto fields = factor != 1
                    ? std::nullopt
                    : FindLlama3Scaling(factors, config["rope_theta"].get<double>(), config["head_dim"].get<int64_t>());
  if (!fields) {
    return Unsupported("rope_freqs.weight: config.json has no words for factors other than those of llama3's scaling");
  }
  config["rope_scaling"] = *std::move(fields);
  return {};
}

// ---- Fields ------------------------------------------------------------------------------------------

// attention_bias stands for all four matrices of a block, mlp_bias for all of an MLP. Qwen2 has those of Q, K and V
// without a word, GPT-2 all.
Result<void> SayBiases(const Checkpoint& checkpoint, Json& config) {
  const std::string type = config["model_type"].get<std::string>();
  if (type == "gpt2") {
    return {};
  }
  const auto some = [&](std::string_view ending) {
    return std::any_of(checkpoint.tensors.begin(), checkpoint.tensors.end(),
                       [&](const auto& tensor) { return tensor.first.ends_with(ending); });
  };
  const bool q = some("self_attn.q_proj.bias") || some("self_attn.qkv_proj.bias");
  const bool o = some("self_attn.o_proj.bias");
  if (type == "qwen2" ? o : q != o) {
    return Unsupported(fmt::format("config.json of a {} cannot say that {} of its attention have biases", type,
                                   o ? "the outputs" : "only the inputs"));
  }
  if (type != "qwen2") {
    config["attention_bias"] = q;
    config["mlp_bias"] = some("mlp.down_proj.bias");
  }
  return {};
}

// The type of most float weights, in the words of config.json; files of quantized weights get the usual one.
std::string FloatType(const Checkpoint& checkpoint) {
  int64_t most = 0;
  std::string type = "bfloat16";
  for (const auto& [dtype, name] :
       {std::pair("F32", "float32"), std::pair("F16", "float16"), std::pair("BF16", "bfloat16")}) {
    int64_t elements = 0;
    for (const auto& [tensor_name, tensor] : checkpoint.tensors) {
      elements += tensor.dtype == dtype && tensor.shape.size() == 2 ? tensor.elements() : 0;
    }
    if (elements > most) {
      most = elements;
      type = name;
    }
  }
  return type;
}

Json IdOf(const Model& model, const std::string& text) {
  const auto id = model.tokenizer == nullptr || text.empty() ? std::nullopt : model.tokenizer->TokenId(text);
  return id ? Json(*id) : Json();
}

void SayTokens(const Model& model, Json& config) {
  config["bos_token_id"] = IdOf(model, model.chat.bos_token);
  config["pad_token_id"] = IdOf(model, model.chat.pad_token);
  const std::vector<Token>& ends = model.generation.eos_ids;
  config["eos_token_id"] = ends.empty() ? Json() : ends.size() == 1 ? Json(ends.front()) : Json(ends);
}

// Files hold numbers as float32: 1e-5 rather than 9.999999747378752e-06.
void Shorten(Json& json) {
  if (json.is_structured()) {
    for (Json& value : json) {
      Shorten(value);
    }
  } else if (json.is_number_float()) {
    const double value = json.get<double>();
    const auto narrow = static_cast<float>(value);
    if (static_cast<double>(narrow) == value) {
      json = std::stod(fmt::format("{}", narrow));  // the shortest text of that float32
    }
  }
}

// Fields that stand in a GPT-2's configuration under names of its own.
constexpr const char* kNotGpt2[] = {"hidden_size",
                                    "num_hidden_layers",
                                    "num_attention_heads",
                                    "num_key_value_heads",
                                    "intermediate_size",
                                    "max_position_embeddings",
                                    "head_dim",
                                    "rope_theta"};

}  // namespace

std::optional<Json> FindLlama3Scaling(const std::vector<double>& factors, double theta, int64_t dimensions) {
  double largest = 1;
  for (const double factor : factors) {
    largest = std::max(largest, factor);
  }
  largest = std::stod(fmt::format("{:.6g}", largest));  // 8, where rounding made it 8.0000005
  const auto gives = [&](const Json& fields) { return Gives(fields, factors, theta, dimensions); };
  // As in the models that have it. Small heads have too few factors to tell.
  for (int64_t original = 8; original <= int64_t{1} << 20; original *= 2) {
    Json usual = Llama3Fields(largest, 1.0, 4.0, static_cast<double>(original));
    if (gives(usual)) {
      return usual;
    }
  }
  auto fitted = FitBetween(factors, largest, theta, dimensions);
  return fitted && gives(*fitted) ? fitted : std::nullopt;
}

Result<Json> HubConfig(const File& file, const Checkpoint& checkpoint, const Model& model) {
  Json config = checkpoint.config;
  TRY(NameFactors(config));
  TRY(SayBiases(checkpoint, config));
  ASSIGN_OR_RETURN(const std::string name, file.metadata.Text("general.architecture"));
  for (const Architecture& architecture : Architectures()) {
    if (architecture.name == name) {
      config["architectures"] = Json::array({std::string(architecture.hub_class)});
    }
  }
  if (config["model_type"] == "gpt2") {
    for (const char* const field : kNotGpt2) {
      config.erase(field);
    }
  }
  config["torch_dtype"] = FloatType(checkpoint);
  SayTokens(model, config);
  Shorten(config);
  return config;
}

Json HubTokenizerConfig(const Model& model) {
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"clean_up_tokenization_spaces", false},
                 {"model_max_length", model.info.context_length}};
  const ChatFormat& chat = model.chat;
  for (const auto& [name, text] : {std::pair("bos_token", &chat.bos_token), std::pair("eos_token", &chat.eos_token),
                                   std::pair("unk_token", &chat.unk_token), std::pair("pad_token", &chat.pad_token)}) {
    if (!text->empty()) {
      config[name] = *text;
    }
  }
  if (!chat.tool_template_source.empty()) {
    config["chat_template"] = Json::array({{{"name", "default"}, {"template", chat.template_source}},
                                           {{"name", "tool_use"}, {"template", chat.tool_template_source}}});
  } else if (!chat.template_source.empty()) {
    config["chat_template"] = chat.template_source;
  }
  return config;
}

Json HubGeneration(const Model& model) {
  Json config = Json::object();
  SayTokens(model, config);
  const GenerationDefaults& generation = model.generation;
  const auto number = [&](const char* name, const auto& value) {
    if (value) {
      config[name] = *value;
    }
  };
  number("temperature", generation.temperature);
  number("top_p", generation.top_p);
  number("top_k", generation.top_k);
  number("min_p", generation.min_p);
  number("repetition_penalty", generation.repetition_penalty);
  Shorten(config);
  config["do_sample"] = generation.temperature && *generation.temperature > 0;
  return config;
}

}  // namespace causeway::model::gguf
