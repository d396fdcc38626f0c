#include "model/gguf/export.h"

#include <algorithm>
#include <cmath>

#include "fmt/format.h"
#include "model/config.h"
#include "model/network.h"

namespace causeway::model::gguf {
namespace {

// Families under another architecture's name; the others are found by Architecture::model_type.
struct Alias {
  std::string_view model_type;
  std::string_view architecture;
};
constexpr Alias kAliases[] = {{"mistral", "llama"}};

Error Unsupported(std::string what) { return MakeError(ErrorCode::kUnsupported, std::move(what)); }

// What the writers of keys share.
struct Context {
  const Architecture& architecture;
  const Config config;
  const Network& network;
  HeaderWriter& header;

  std::string Key(std::string_view key) const { return fmt::format("{}.{}", architecture.name, key); }
  void Size(std::string_view key, int64_t value) const { header.Size(Key(key), value); }
  void Number(std::string_view key, double value) const { header.Number(Key(key), value); }
  // A number of the configuration, if it is there.
  Result<void> Copy(const char* field, std::string_view key) const {
    if (config.Has(field)) {
      ASSIGN_OR_RETURN(const double value, config.Number(field));
      Number(key, value);
    }
    return {};
  }
};

int64_t HeadsOf(const Network& network) { return network.layers.front().attention.heads; }

void WriteSizes(const Context& context) {
  const Network& network = context.network;
  context.Size("block_count", static_cast<int64_t>(network.layers.size()));
  context.Size("context_length", network.context_length);
  context.Size("embedding_length", network.hidden);
  context.Size("feed_forward_length", network.layers.front().mlp.down.weight.columns);
  context.Size("attention.head_count", HeadsOf(network));
  context.Size("attention.head_count_kv", network.kv_heads);
  context.Size("vocab_size", network.vocab);
  const Norm& norm = network.final_norm;
  context.Number(norm.kind == Norm::Kind::kLayer ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon",
                 static_cast<double>(norm.eps));
}

// The window of the layers that slide; 0: none do.
int64_t WindowOf(const Network& network) {
  int64_t window = 0;
  for (const Layer& layer : network.layers) {
    window = std::max(window, layer.attention.window);
  }
  return window;
}

// A pattern other than the architecture's own, of which every `period`th layer sees everything.
void WriteWindows(const Context& context, int64_t period) {
  const int64_t window = WindowOf(context.network);
  if (window == 0) {
    return;
  }
  context.Size("attention.sliding_window", window);
  std::vector<bool> slides;
  bool as_usual = true;
  for (const Layer& layer : context.network.layers) {
    slides.push_back(layer.attention.window > 0);
    as_usual = as_usual && slides.back() == (static_cast<int64_t>(slides.size()) % period != 0);
  }
  if (!as_usual) {
    context.header.Flags(context.Key("attention.sliding_window_pattern"), slides);
  }
}

// ---- Rope --------------------------------------------------------------------------------------------

// What frequencies are divided by, against those of theta alone.
std::vector<float> FactorsOf(const Rope& rope, double theta) {
  std::vector<float> factors;
  for (size_t i = 0; i < rope.inverse_frequency.size(); ++i) {
    const double plain = std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(rope.rotary_dim));
    factors.push_back(static_cast<float>(plain / static_cast<double>(rope.inverse_frequency[i])));
  }
  return factors;
}

Result<std::vector<float>> NumbersOf(const Json& scaling, const char* name) {
  std::vector<float> values;
  const auto it = scaling.find(name);
  for (const Json& value : it == scaling.end() ? Json::array() : *it) {
    if (!value.is_number()) {
      return MakeError(ErrorCode::kInvalidArgument, fmt::format("rope scaling: {} is no list of numbers", name));
    }
    values.push_back(value.get<float>());
  }
  return values;
}

Result<void> WriteYarn(const Context& context, const Config& scaling, const Rope& rope) {
  context.header.Text(context.Key("rope.scaling.type"), "yarn");
  ASSIGN_OR_RETURN(const bool truncate, scaling.Flag("truncate", true));
  if (!truncate) {
    return Unsupported("rope scaling: truncate false cannot be said in GGUF");
  }
  ASSIGN_OR_RETURN(const double original, scaling.Number("original_max_position_embeddings",
                                                         static_cast<double>(context.network.context_length)));
  ASSIGN_OR_RETURN(const double factor,
                   scaling.Number("factor", static_cast<double>(context.network.context_length) / original));
  context.Number("rope.scaling.factor", factor);
  context.Size("rope.scaling.original_context_length", static_cast<int64_t>(original));
  for (const auto& [field, key] :
       {std::pair("beta_fast", "rope.scaling.yarn_beta_fast"), std::pair("beta_slow", "rope.scaling.yarn_beta_slow")}) {
    if (scaling.Has(field)) {
      ASSIGN_OR_RETURN(const double value, scaling.Number(field));
      context.Number(key, value);
    }
  }
  context.Number("rope.scaling.yarn_attn_factor", static_cast<double>(rope.attention_factor));
  return {};
}

Result<std::vector<RopeTensor>> WriteScaling(const Context& context, const RopeSettings& settings, const Rope& rope) {
  std::string type = "default";
  const Config scaling(settings.scaling == nullptr ? Json::object() : *settings.scaling);
  ASSIGN_OR_RETURN(type, scaling.Text(scaling.Has("rope_type") ? "rope_type" : "type", "default"));
  if (type == "linear") {
    ASSIGN_OR_RETURN(const double factor, scaling.Number("factor"));
    context.header.Text(context.Key("rope.scaling.type"), "linear");
    context.Number("rope.scaling.factor", factor);
  } else if (!rope.inverse_frequency_long.empty()) {
    ASSIGN_OR_RETURN(auto long_factors, NumbersOf(*settings.scaling, "long_factor"));
    ASSIGN_OR_RETURN(auto short_factors, NumbersOf(*settings.scaling, "short_factor"));
    context.Size("rope.scaling.original_context_length", rope.long_beyond);
    context.Number("rope.scaling.attn_factor", static_cast<double>(rope.attention_factor));
    return std::vector<RopeTensor>{{"rope_factors_long.weight", std::move(long_factors)},
                                   {"rope_factors_short.weight", std::move(short_factors)}};
  } else if (type == "yarn") {
    TRY(WriteYarn(context, scaling, rope));
  } else if (type != "default") {  // llama3 and what else divides each frequency
    return std::vector<RopeTensor>{{"rope_freqs.weight", FactorsOf(rope, settings.theta)}};
  }
  return std::vector<RopeTensor>();
}

Result<std::vector<RopeTensor>> WriteRope(const Context& context) {
  if (context.network.ropes.empty()) {
    return std::vector<RopeTensor>();
  }
  context.Size("attention.key_length", context.network.head_dim);
  context.Size("attention.value_length", context.network.head_dim);
  ASSIGN_OR_RETURN(const RopeSettings settings, ReadRope(context.config));
  const auto with_rope = std::find_if(context.network.layers.begin(), context.network.layers.end(),
                                      [](const Layer& layer) { return layer.attention.window == 0; });
  const int64_t index = with_rope == context.network.layers.end() ? 0 : std::max<int64_t>(with_rope->attention.rope, 0);
  const Rope& rope = context.network.ropes[static_cast<size_t>(index)];
  context.Number("rope.freq_base", settings.theta);
  context.Size("rope.dimension_count", rope.rotary_dim);
  return WriteScaling(context, settings, rope);
}

// ---- What architectures have of their own ------------------------------------------------------------

Result<void> WriteGranite(const Context& context) {
  TRY(context.Copy("embedding_multiplier", "embedding_scale"));
  TRY(context.Copy("residual_multiplier", "residual_scale"));
  TRY(context.Copy("logits_scaling", "logit_scale"));
  return context.Copy("attention_multiplier", "attention.scale");
}
Result<void> WritePhi3(const Context& context) {
  if (const int64_t window = WindowOf(context.network); window > 0) {
    context.Size("attention.sliding_window", window);
  }
  return {};
}
Result<void> WriteGemma2(const Context& context) {
  TRY(context.Copy("attn_logit_softcapping", "attn_logit_softcapping"));
  TRY(context.Copy("final_logit_softcapping", "final_logit_softcapping"));
  WriteWindows(context, 2);
  return {};
}
Result<void> WriteGemma3(const Context& context) {
  TRY(context.Copy("final_logit_softcapping", "final_logit_softcapping"));
  ASSIGN_OR_RETURN(const RopeSettings local, ReadLocalRope(context.config));
  if (local.theta != 10000.0) {
    context.Number("rope.freq_base_swa", local.theta);
  }
  WriteWindows(context, 6);
  return {};
}

struct OwnKeys {
  std::string_view architecture;
  Result<void> (*write)(const Context&);
};
constexpr OwnKeys kOwnKeys[] = {
    {"granite", WriteGranite}, {"phi3", WritePhi3}, {"gemma2", WriteGemma2}, {"gemma3", WriteGemma3}};

// The GGUF stem of a hub's stem. A name of the architecture's own takes the place of a shared one, on either side.
std::string_view GgufStem(const Architecture& architecture, std::string_view hub) {
  for (const TensorName& name : architecture.own_names) {
    if (name.hub == hub) {
      return name.gguf;
    }
  }
  for (const TensorName& name : SharedNames()) {
    const bool taken = std::any_of(architecture.own_names.begin(), architecture.own_names.end(),
                                   [&](const TensorName& own) { return own.gguf == name.gguf; });
    if (name.hub == hub && !taken) {
      return name.gguf;
    }
  }
  return {};
}

}  // namespace

Result<const Architecture*> ArchitectureOf(std::string_view model_type) {
  std::string_view wanted;
  for (const Alias& alias : kAliases) {
    wanted = alias.model_type == model_type ? alias.architecture : wanted;
  }
  for (const Architecture& architecture : Architectures()) {
    if (wanted.empty() ? architecture.model_type == model_type : architecture.name == wanted) {
      return &architecture;
    }
  }
  return Unsupported(fmt::format("models of type '{}' have no place in GGUF files", model_type));
}

Result<std::vector<RopeTensor>> WriteConfig(const Architecture& architecture, const Json& config, const Model& model,
                                            HeaderWriter& header) {
  const Context context{architecture, Config(config), *model.network, header};
  header.Text("general.architecture", architecture.name);
  header.Text("general.type", "model");
  header.Text("general.name", model.info.name);
  WriteSizes(context);
  ASSIGN_OR_RETURN(auto tensors, WriteRope(context));
  for (const OwnKeys& row : kOwnKeys) {
    if (row.architecture == architecture.name) {
      TRY(row.write(context));
    }
  }
  return tensors;
}

std::string GgufName(const Architecture& architecture, std::string_view hub_name) {
  const size_t dot = hub_name.rfind('.');
  if (dot == std::string_view::npos) {
    return {};
  }
  std::string_view stem = hub_name.substr(0, dot);
  std::string prefix;
  if (stem.starts_with(architecture.layer_prefix)) {
    const size_t begin = architecture.layer_prefix.size();
    const size_t end = stem.find('.', begin);
    if (end == std::string_view::npos) {
      return {};
    }
    prefix = fmt::format("blk.{}.", stem.substr(begin, end - begin));
    stem = stem.substr(end + 1);
  }
  const std::string_view name = GgufStem(architecture, stem);
  return name.empty() ? std::string() : fmt::format("{}{}{}", prefix, name, hub_name.substr(dot));
}

std::vector<int64_t> ReorderedRows(int64_t rows, int64_t head_dim) {
  std::vector<int64_t> order(static_cast<size_t>(rows));
  const int64_t half = head_dim / 2;
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t in_head = row % head_dim;
    order[static_cast<size_t>(row)] = row - in_head + in_head % 2 * half + in_head / 2;
  }
  return order;
}

}  // namespace causeway::model::gguf
