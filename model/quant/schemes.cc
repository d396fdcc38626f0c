#include "model/quant/schemes.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <system_error>
#include <tuple>
#include <utility>

#include "fmt/format.h"

namespace causeway::model::quant {
namespace {

constexpr std::string_view kPattern = "re:";

// Formats whose tensors are read by what they are. A layout of its own is refused by name.
constexpr std::string_view kFormats[] = {
    "dense",           "pack-quantized",       "int-quantized",        "float-quantized",
    "naive-quantized", "nvfp4-pack-quantized", "mxfp4-pack-quantized", "mxfp8-quantized",
    "mixed-precision"};

// A word of an enumeration, which the library reads in any case.
Result<std::string> Word(const Config& config, const char* name, std::string otherwise) {
  ASSIGN_OR_RETURN(std::string word, config.Text(name, std::move(otherwise)));
  std::transform(word.begin(), word.end(), word.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return word;
}

Result<void> CheckFormat(const Config& config) {
  ASSIGN_OR_RETURN(const std::string format, config.Text("format", "dense"));
  if (std::find(std::begin(kFormats), std::end(kFormats), format) == std::end(kFormats)) {
    return MakeError(ErrorCode::kUnsupported,
                     fmt::format("format '{}' is not served; known: {}", format, fmt::join(kFormats, ", ")));
  }
  return {};
}

Result<void> CheckSparsity(const Config& config) {
  const Json* const sparsity = config.Find("sparsity_config");
  if (sparsity == nullptr || sparsity->empty()) {
    return {};
  }
  if (!sparsity->is_object()) {
    return MakeError(ErrorCode::kInvalidArgument, "sparsity_config is no object");
  }
  ASSIGN_OR_RETURN(const std::string format, Config(*sparsity).Text("format", "dense"));
  if (format != "dense" && format != "sparse-24-bitmask") {
    return MakeError(ErrorCode::kUnsupported,
                     fmt::format("sparsity_config.format '{}' is not served; known: dense, sparse-24-bitmask", format));
  }
  return {};
}

Result<Strategy> ReadStrategy(const std::string& name) {
  if (name == "tensor") return Strategy::kTensor;
  if (name == "channel") return Strategy::kChannel;
  if (name == "group" || name == "tensor_group") return Strategy::kGroup;
  if (name == "block") return Strategy::kBlock;
  return MakeError(ErrorCode::kUnsupported,
                   fmt::format("strategy '{}' of weights is not served; known: tensor, channel, group, tensor_group, "
                               "block",
                               name));
}

// Rows and columns: [128, 128], or "128x128" in older files.
Result<std::pair<int64_t, int64_t>> ReadBlock(const Config& weights) {
  std::vector<int64_t> block;
  const Json* const json = weights.Find("block_structure");
  if (json != nullptr && json->is_string()) {
    const auto& text = json->get_ref<const std::string&>();
    const char* at = text.data();
    const char* const end = text.data() + text.size();
    for (int64_t size = 0; block.size() < 2; ++at) {
      const auto read = std::from_chars(at, end, size);
      if (read.ec != std::errc() || (block.empty() ? read.ptr == end || *read.ptr != 'x' : read.ptr != end)) {
        break;
      }
      block.push_back(size);
      at = read.ptr;
    }
  } else {
    ASSIGN_OR_RETURN(block, weights.IntList("block_structure"));
  }
  if (block.size() != 2 || block[0] < 1 || block[1] < 1) {
    return MakeError(ErrorCode::kInvalidArgument, "block_structure must be two positive numbers");
  }
  return std::pair(block[0], block[1]);
}

Result<Scheme> ReadScheme(const Json& json) {
  if (!json.is_object()) {
    return MakeError(ErrorCode::kInvalidArgument, "weights is no object");
  }
  const Config weights(json);
  Scheme scheme;
  ASSIGN_OR_RETURN(const std::string type, Word(weights, "type", "int"));
  if (type != "int" && type != "float") {
    return MakeError(ErrorCode::kUnsupported, fmt::format("type '{}' is not served; known: int, float", type));
  }
  scheme.is_float = type == "float";
  ASSIGN_OR_RETURN(const int64_t bits, weights.Int("num_bits", 1, 32, 8));
  if (scheme.is_float ? bits != 4 && bits != 8 : bits < 2 || bits > 8) {
    return MakeError(ErrorCode::kUnsupported,
                     fmt::format("num_bits {} is not served; known: 4 and 8 for floats, 2 to 8 for integers", bits));
  }
  scheme.bits = static_cast<int>(bits);
  ASSIGN_OR_RETURN(scheme.symmetric, weights.Flag("symmetric", true));
  constexpr int64_t kMaxSize = int64_t{1} << 24;
  ASSIGN_OR_RETURN(const int64_t group, weights.Int("group_size", -1, kMaxSize, -1));
  ASSIGN_OR_RETURN(const std::string strategy, Word(weights, "strategy",
                                                    group > 0                                  ? "group"
                                                    : group == -1 && weights.Has("group_size") ? "channel"
                                                                                               : "tensor"));
  ASSIGN_OR_RETURN(scheme.strategy, ReadStrategy(strategy));
  scheme.group = group;
  if (scheme.strategy == Strategy::kGroup && group < 1) {
    return MakeError(ErrorCode::kInvalidArgument, "group_size must be positive where strategy is 'group'");
  }
  if (scheme.strategy == Strategy::kBlock) {
    ASSIGN_OR_RETURN(const auto block, ReadBlock(weights));
    std::tie(scheme.block_rows, scheme.group) = block;
  }
  return scheme;
}

// Inputs of 8 bits. Anything coarser is served with inputs as they are, and so are scales that are powers of two
// (mxfp8) and one scale for all rows of a batch, by which a row's values would depend on others.
Result<void> ReadInputs(const Config& group, Scheme& scheme) {
  const Json* const json = group.Find("input_activations");
  if (json == nullptr) {
    return {};
  }
  if (!json->is_object()) {
    return MakeError(ErrorCode::kInvalidArgument, "input_activations is no object");
  }
  const Config inputs(*json);
  ASSIGN_OR_RETURN(const int64_t bits, inputs.Int("num_bits", 1, 32, 8));
  ASSIGN_OR_RETURN(const bool symmetric, inputs.Flag("symmetric", true));
  ASSIGN_OR_RETURN(const std::string type, Word(inputs, "type", "int"));
  ASSIGN_OR_RETURN(const std::string strategy, Word(inputs, "strategy", "tensor"));
  ASSIGN_OR_RETURN(const int64_t run, inputs.Int("group_size", -1, int64_t{1} << 24, 0));
  const Json* const dynamic = inputs.Find("dynamic");
  scheme.inputs_static = dynamic == nullptr || (dynamic->is_boolean() && !dynamic->get<bool>());
  ASSIGN_OR_RETURN(const std::string scales, inputs.Text("scale_dtype", ""));
  const bool powers = type == "float" && run == 32 && scales.ends_with("uint8");
  const bool by_group = strategy == "group" && run > 0 && !scheme.inputs_static && !powers;
  const bool known = strategy == "tensor" || strategy == "token" || by_group;
  const bool integers = type != "float";
  if (bits == 8 && (symmetric || integers) && known && (scheme.inputs_static || strategy != "tensor")) {
    scheme.inputs = kernels::InputRounding{
        .code = integers ? kernels::InputRounding::Code::kInt8 : kernels::InputRounding::Code::kE4M3,
        .run = by_group ? run : 0,
        .symmetric = symmetric};
  }
  return {};
}

Result<Scheme> ReadGroup(const Config& group) {
  TRY(CheckFormat(group));
  ASSIGN_OR_RETURN(Scheme scheme, ReadScheme(*group.Find("weights")));
  TRY(ReadInputs(group, scheme));
  return scheme;
}

std::string_view ClassOf(std::string_view module) {
  return module.ends_with("embed_tokens") || module.ends_with("wte") ? "Embedding" : "Linear";
}

}  // namespace

Result<void> Schemes::AddTargets(const Config& group) {
  const size_t scheme = schemes_.size() - 1;
  ASSIGN_OR_RETURN(const std::vector<std::string> targets, group.TextList("targets"));
  for (const std::string& target : targets) {
    if (!target.starts_with(kPattern)) {
      names_[target] = scheme;
      continue;
    }
    auto expression = tokenizer::Regex::Compile("\\A(?:" + target.substr(kPattern.size()) + ")");
    if (!expression.ok()) {
      return expression.error().WithContext("targets");
    }
    patterns_.insert_or_assign(target, Pattern{*std::move(expression), scheme});
  }
  return {};
}

Result<Schemes> Schemes::Read(const Config& config) {
  TRY(CheckFormat(config));
  TRY(CheckSparsity(config));
  if (const Json* const transforms = config.Find("transform_config"); transforms != nullptr && !transforms->empty()) {
    return MakeError(ErrorCode::kUnsupported, "transform_config: transforms of inputs are not served");
  }
  Schemes schemes;
  const Json* const groups = config.Find("config_groups");
  if (groups == nullptr) {
    return schemes;
  }
  if (!groups->is_object()) {
    return MakeError(ErrorCode::kInvalidArgument, "config_groups is no object");
  }
  for (const auto& [name, json] : groups->items()) {
    const auto add = [&]() -> Result<void> {
      if (!json.is_object()) {
        return MakeError(ErrorCode::kInvalidArgument, "it is no object");
      }
      const Config group(json);
      if (!group.Has("weights")) {
        return {};  // queries, keys and values of attention in 8 bits: here they are floats
      }
      ASSIGN_OR_RETURN(schemes.schemes_.emplace_back(), ReadGroup(group));
      return schemes.AddTargets(group);
    };
    if (const auto added = add(); !added.ok()) {
      return added.error().WithContext("config_groups." + name);
    }
  }
  return schemes;
}

Result<const Scheme*> Schemes::Of(const std::string& module) const {
  if (const auto named = names_.find(module); named != names_.end()) {
    return &schemes_[named->second];
  }
  for (const auto& [text, pattern] : patterns_) {
    std::vector<tokenizer::Match> matches;
    TRY(pattern.expression.FindAll(module, matches));
    if (!matches.empty()) {
      return &schemes_[pattern.scheme];
    }
  }
  if (const auto named = names_.find(ClassOf(module)); named != names_.end()) {
    return &schemes_[named->second];
  }
  if (schemes_.size() == 1) {
    return schemes_.data();
  }
  return MakeError(ErrorCode::kInvalidArgument,
                   fmt::format("module {} has quantized tensors, and no group of config_groups targets it", module));
}

}  // namespace causeway::model::quant
