#include "model/quantize/plan.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"
#include "kernels/quant/format.h"
#include "model/network.h"

namespace causeway::model::quantize {
namespace {

using kernels::FormatId;

constexpr std::string_view kWeight = ".weight";

// * is any run of characters, ? one.
bool Matches(std::string_view pattern, std::string_view text) {
  size_t star = std::string_view::npos;
  size_t resume = 0;
  size_t at = 0;
  size_t i = 0;
  while (i < text.size()) {
    if (at < pattern.size() && (pattern[at] == '?' || pattern[at] == text[i])) {
      ++at;
      ++i;
    } else if (at < pattern.size() && pattern[at] == '*') {
      star = at++;
      resume = i;
    } else if (star != std::string_view::npos) {
      at = star + 1;
      i = ++resume;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', at) == std::string_view::npos;
}

class Planner {
 public:
  Planner(const Source& source, const PlanOptions& options)
      : source_(source), options_(options), network_(*source.model->network), matched_(options.overrides.size()) {}

  Result<Plan> Make() {
    tied_ = network_.tied;
    for (const SourceTensor& tensor : source_.tensors) {
      TensorPlan one;
      one.source = &tensor;
      if (kernels::FindFormat(tensor.stored.dtype) == nullptr) {  // integers beside the text model
        one.verbatim = true;
        one.parts = {{tensor.name, tensor.stored.dtype, tensor.shape, std::ssize(tensor.stored.data)}};
      } else if (tensor.shape.size() == 2) {
        TRY(PlanMatrix(tensor, one));
      } else {
        PlanFloats(tensor, gguf() ? FormatId::kF32 : FloatOf(tensor), one);
      }
      plan_.tensors.push_back(std::move(one));
    }
    for (size_t i = 0; i < matched_.size(); ++i) {
      if (!matched_[i]) {
        return MakeError(
            ErrorCode::kInvalidArgument,
            fmt::format("no matrix is called like '{}'; their names are those of the destination, such as {}",
                        options_.overrides[i].pattern, ExampleName()),
            "tensor");
      }
    }
    return std::move(plan_);
  }

 private:
  bool gguf() const { return options_.recipe.container == Container::kGguf; }

  std::string ExampleName() const {
    for (const SourceTensor& tensor : source_.tensors) {
      if (tensor.role) {
        return tensor.name;
      }
    }
    return "none";
  }

  // A float tensor's own type; BF16 for one that was quantized.
  static FormatId FloatOf(const SourceTensor& tensor) {
    const kernels::WeightFormat& format = *kernels::FindFormat(tensor.stored.dtype);
    return format.block_elements == 1 ? format.id : FormatId::kBF16;
  }

  void PlanFloats(const SourceTensor& matrix, FormatId type, TensorPlan& one) {
    one.type = type;
    if (matrix.conv1d) {
      one.source = plan_.turned.emplace_back(std::make_unique<const SourceTensor>(Turned(matrix))).get();
    }
    const SourceTensor& tensor = *one.source;
    const std::string_view dtype = kernels::FormatOf(type).dtype;
    one.verbatim = tensor.stored.dtype == dtype && !tensor.transposed && tensor.row_order.empty() &&
                   tensor.column_order == nullptr && tensor.plus == 0.0F;
    one.parts = {{tensor.name, std::string(dtype), tensor.shape, kernels::BytesOf(type, tensor.elements())}};
  }

  bool IsEmbedding(std::string_view name) const {
    return name == "token_embd.weight" || name.ends_with("embed_tokens.weight") || name.ends_with("wte.weight");
  }
  bool IsHead(std::string_view name) const {
    return name == "output.weight" || name.ends_with("lm_head.weight") || (tied_ && IsEmbedding(name));
  }

  // What the options say of this tensor, before the recipe; empty: nothing.
  std::string AskedFor(const SourceTensor& tensor) {
    std::string format;
    if (IsEmbedding(tensor.name) && !options_.embedding_type.empty()) {
      format = options_.embedding_type;
    } else if (IsHead(tensor.name) && !options_.output_type.empty()) {
      format = options_.output_type;
    }
    for (size_t i = 0; i < options_.overrides.size(); ++i) {
      const std::string& pattern = options_.overrides[i].pattern;
      const std::string_view module = std::string_view(tensor.name).substr(0, tensor.name.rfind('.'));
      if (Matches(pattern, tensor.name) || Matches(pattern, module)) {
        matched_[i] = true;
        format = options_.overrides[i].format;
      }
    }
    return format;
  }

  Result<void> PlanMatrix(const SourceTensor& tensor, TensorPlan& one) {
    const std::string asked = AskedFor(tensor);
    if (!asked.empty()) {
      ASSIGN_OR_RETURN(const TensorFormat format, FindTensorFormat(asked, options_.recipe.container));
      return format.scheme != nullptr ? PlanScheme(tensor, *format.scheme, true, one)
                                      : PlanType(tensor, *format.type, true, one);
    }
    if (options_.leave_output && IsHead(tensor.name)) {
      PlanFloats(tensor, FloatOf(tensor), one);
      return {};
    }
    if (gguf()) {
      return PlanByMixture(tensor, one);
    }
    if (tensor.role) {
      return PlanScheme(tensor, *options_.recipe.scheme, false, one);
    }
    PlanFloats(tensor, FloatOf(tensor), one);
    return {};
  }

  Result<void> PlanByMixture(const SourceTensor& tensor, TensorPlan& one) {
    if (tensor.name == "position_embd.weight") {  // as llama.cpp does: they are few
      PlanFloats(tensor, FormatId::kF32, one);
      return {};
    }
    const Recipe& recipe = options_.recipe;
    FormatId type = recipe.base;
    if (recipe.mix != nullptr && !options_.pure) {
      const TensorPlace place{.name = tensor.name,
                              .layer = tensor.role ? tensor.role->layer : 0,
                              .layers = static_cast<int64_t>(network_.layers.size()),
                              .is_head = IsHead(tensor.name),
                              .group_query = network_.layers.front().attention.heads / network_.kv_heads};
      type = recipe.mix(place).value_or(type);
    }
    return PlanType(tensor, type, false, one);
  }

  Result<void> PlanType(const SourceTensor& tensor, FormatId type, bool asked, TensorPlan& one) {
    const FormatId fitting = FittingType(type, tensor.columns());
    if (fitting != type && asked) {
      return MakeError(ErrorCode::kInvalidArgument,
                       fmt::format("tensor {}: rows of {} values are no whole blocks of {}", tensor.name,
                                   tensor.columns(), kernels::FormatOf(type).name),
                       "tensor");
    }
    if (fitting != type) {
      plan_.notes.push_back(fmt::format("{}: rows of {} values do not fit {}; {} instead", tensor.name,
                                        tensor.columns(), kernels::FormatOf(type).name,
                                        kernels::FormatOf(fitting).name));
    }
    one.codec = MakeBlockCodec(fitting);
    if (one.codec == nullptr) {
      PlanFloats(tensor, fitting, one);
      return {};
    }
    one.type = fitting;
    one.parts = one.codec->Parts(tensor.rows(), tensor.columns());
    one.parts[0].suffix = tensor.name;
    return {};
  }

  // The scheme with the caller's group size, made once.
  const CompressedScheme& Sized(const CompressedScheme& scheme) {
    const bool sized = scheme.kind == SchemeKind::kPacked && options_.group_size != 0;
    if (!sized) {
      return scheme;
    }
    for (const auto& made : plan_.schemes) {
      if (made->name == scheme.name) {
        return *made;
      }
    }
    CompressedScheme own = scheme;
    own.group = std::max<int64_t>(options_.group_size, 0);
    plan_.schemes.push_back(std::make_unique<const CompressedScheme>(own));
    return *plan_.schemes.back();
  }

  Result<void> PlanScheme(const SourceTensor& tensor, const CompressedScheme& named, bool asked, TensorPlan& one) {
    const CompressedScheme& scheme = Sized(named);
    const FormatId own = FloatOf(tensor);
    auto codec = MakeCompressedCodec(scheme, kernels::FormatOf(own).dtype);
    if (!codec->Fits(tensor.columns()) || !tensor.name.ends_with(kWeight)) {
      if (asked) {
        return MakeError(ErrorCode::kInvalidArgument,
                         fmt::format("tensor {}: rows of {} values are no whole groups of {}", tensor.name,
                                     tensor.columns(), scheme.name),
                         "tensor");
      }
      plan_.notes.push_back(fmt::format("{}: rows of {} values are no whole groups of {}; it stays as it is",
                                        tensor.name, tensor.columns(), scheme.group));
      PlanFloats(tensor, own, one);
      return {};
    }
    one.scheme = &scheme;
    one.parts = codec->Parts(tensor.rows(), tensor.columns());
    for (Part& part : one.parts) {
      part.suffix = tensor.name.substr(0, tensor.name.size() - kWeight.size()) + part.suffix;
    }
    one.codec = std::move(codec);
    return {};
  }

  const Source& source_;
  const PlanOptions& options_;
  const Network& network_;
  bool tied_ = false;
  std::vector<bool> matched_;
  Plan plan_;
};

}  // namespace

std::string TensorPlan::format() const {
  return codec != nullptr ? codec->name() : std::string(kernels::FormatOf(type).name);
}

int64_t TensorPlan::bytes() const {
  int64_t sum = 0;
  for (const Part& part : parts) {
    sum += part.bytes;
  }
  return sum;
}

Result<Plan> MakePlan(const Source& source, const PlanOptions& options) {
  ASSIGN_OR_RETURN(Plan plan, Planner(source, options).Make());
  const bool any = std::any_of(plan.tensors.begin(), plan.tensors.end(),
                               [](const TensorPlan& tensor) { return tensor.codec != nullptr; });
  if (options.recipe.container == Container::kHub && !any) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("no matrix of this model fits {}: try --group-size", options.recipe.name),
                     "group_size");
  }
  return plan;
}

}  // namespace causeway::model::quantize
