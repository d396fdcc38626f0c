#include "model/quantize/quantize.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "fmt/format.h"
#include "kernels/scratch.h"
#include "model/network.h"
#include "model/quantize/encode.h"
#include "model/quantize/output.h"
#include "model/quantize/writers.h"
#include "model/tokenizer/tokenizer.h"

namespace causeway::model::quantize {
namespace {

// What tokenizers differ by: case, digits, contractions, lines, spaces, scripts, emoji.
constexpr std::string_view kSampleText =
    "The quick brown fox doesn't jump over 13 lazy dogs; it's 1234567.89% SURE.\n\n\tint main() { return a[i]->b; }\r\n"
    "   Grüße aus Köln, naïve café – “quoted” … 你好，世界。こんにちは 안녕하세요 Привет мир مرحبا "
    "🙂👍🏽 "
    "HTTPServer camelCase snake_case x==y!=z //comment\n\n\n  end ";

class Quantizer {
 public:
  Quantizer(const QuantizeOptions& options, const kernels::Ops& ops, ThreadPool& pool)
      : options_(options), ops_(ops), pool_(pool), scratch_(pool.threads()), stream_{pool, scratch_} {}

  Result<QuantizeReport> Run() {
    const Container container = options_.plan.recipe.container;
    TRY(CheckDestination(container));
    const bool is_folder = container == Container::kHub;
    ASSIGN_OR_RETURN(Output output, Output::Create(options_.destination, is_folder, options_.replace));
    Progress(0.0, "reading the source");
    ASSIGN_OR_RETURN(source_, Source::Open(options_.source, container));
    if (source_.quantized && !options_.allow_requantize) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "this model is quantized already, and what it lost stays lost: take the original, or say "
                       "--allow-requantize",
                       "SRC");
    }
    ASSIGN_OR_RETURN(plan_, MakePlan(source_, options_.plan));
    report_.notes = plan_.notes;
    TRY(PrepareCalibration());
    const NextTensor next = [&](size_t index) { return EncodeTensor(index); };
    TRY(is_folder ? WriteHubFolder(output.path(), source_, plan_, options_.plan, options_.gptq.act_order, next)
                  : WriteGguf(output.path(), source_, plan_, options_.plan.recipe, next));
    Progress(1.0, "reading back");
    TRY(ReadBack(output.path()));
    TRY(output.Finish());
    FillReport();
    return std::move(report_);
  }

 private:
  void Progress(double fraction, std::string_view what) const {
    if (options_.progress) {
      options_.progress(fraction, what);
    }
  }

  Result<void> CheckDestination(Container container) const {
    const bool gguf = gguf::IsGgufName(options_.destination);
    if (gguf != (container == Container::kGguf)) {
      return MakeError(ErrorCode::kInvalidArgument,
                       fmt::format("format {} is written to {}, not to {}", options_.plan.recipe.name,
                                   gguf ? "a folder" : "a file NAME.gguf", options_.destination),
                       "DST");
    }
    return {};
  }

  // ---- Calibration -----------------------------------------------------------------------------------

  Result<void> PrepareCalibration() {
    if (options_.method == Method::kGptq && options_.calibration_text.empty()) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "GPTQ needs --calibration: a text like those that the model will see", "calibration");
    }
    if (options_.calibration_text.empty()) {
      return {};
    }
    ASSIGN_OR_RETURN(auto sequences, CutText(*source_.model, options_.calibration_text, options_.calibration));
    if (static_cast<int64_t>(sequences.size()) < options_.calibration.samples) {
      report_.notes.push_back(fmt::format("the calibration text makes {} sequences of {} tokens, not {}",
                                          sequences.size(), options_.calibration.sequence_length,
                                          options_.calibration.samples));
    }
    ASSIGN_OR_RETURN(calibration_, Calibration::Create(*source_.model, ops_, pool_, std::move(sequences)));
    return {};
  }

  // Of the layer at hand; a factor serves all weights that read the same inputs.
  Result<const GptqFactor*> FactorFor(const Role& role) {
    ASSIGN_OR_RETURN(const Hessian* const hessian, calibration_->InputsOf(role));
    if (role.layer != factors_layer_) {
      factors_.clear();
      factors_layer_ = role.layer;
    }
    const auto found = factors_.find(role.input);
    if (found != factors_.end()) {
      return &found->second;
    }
    auto factor = Factorize(*hessian, options_.gptq, ops_, stream_);
    if (!factor.ok()) {
      return factor.error().WithContext(fmt::format("layer {}", role.layer));
    }
    return &factors_.emplace(role.input, *std::move(factor)).first->second;
  }

  Result<std::vector<float>> ImportanceFor(const Role& role) {
    ASSIGN_OR_RETURN(const Hessian* const hessian, calibration_->InputsOf(role));
    std::vector<float> importance(static_cast<size_t>(hessian->size));
    double mean = 0;
    for (size_t i = 0; i < importance.size(); ++i) {
      importance[i] = hessian->sums[i * importance.size() + i];
      mean += static_cast<double>(importance[i]) / static_cast<double>(importance.size());
    }
    for (float& value : importance) {  // a column that the text never moved counts a little all the same
      value = mean > 0 ? static_cast<float>(static_cast<double>(value) / mean) + 1e-3F : 1.0F;
    }
    return importance;
  }

  // Rows of a file to those of the network.
  static std::vector<float> InNetworkOrder(const SourceTensor& tensor, std::vector<float> values) {
    if (tensor.network_rows.empty()) {
      return values;
    }
    std::vector<float> ordered(values.size());
    const auto columns = static_cast<ptrdiff_t>(tensor.columns());
    for (size_t row = 0; row < tensor.network_rows.size(); ++row) {
      std::copy_n(values.begin() + static_cast<ptrdiff_t>(row) * columns, columns,
                  ordered.begin() + static_cast<ptrdiff_t>(tensor.network_rows[row]) * columns);
    }
    return ordered;
  }

  // ---- Tensors ---------------------------------------------------------------------------------------

  Result<Encoded> Encode(TensorPlan& tensor) {
    if (tensor.codec == nullptr) {
      return EncodeFloats(tensor, pool_);
    }
    const SourceTensor& source = *tensor.source;
    if (calibration_ == nullptr || !source.role) {
      return EncodeNearest(tensor, {}, pool_);
    }
    if (options_.method == Method::kNearest) {
      ASSIGN_OR_RETURN(const std::vector<float> importance, ImportanceFor(*source.role));
      return EncodeNearest(tensor, importance, pool_);
    }
    ASSIGN_OR_RETURN(const GptqFactor* const factor, FactorFor(*source.role));
    Encoded encoded = EncodeByGptq(tensor, *factor, ops_, stream_);
    calibration_->Replace(*source.role, source.columns(), InNetworkOrder(source, std::move(encoded.values)));
    return encoded;
  }

  Result<std::vector<std::vector<std::byte>>> EncodeTensor(size_t index) {
    TensorPlan& tensor = plan_.tensors[index];
    ASSIGN_OR_RETURN(Encoded encoded, Encode(tensor));
    if (!std::isfinite(encoded.squared_error)) {
      return MakeError(ErrorCode::kInvalidArgument,
                       fmt::format("tensor {} holds values that are not finite, or beyond what {} can hold",
                                   tensor.source->name, tensor.format()));
    }
    Note(tensor, encoded);
    done_weights_ += tensor.source->elements();
    source_.files->Evict();  // what was read is not read again
    Progress(static_cast<double>(done_weights_) / static_cast<double>(std::max<int64_t>(TotalWeights(), 1)),
             tensor.source->name);
    return std::move(encoded.parts);
  }

  int64_t TotalWeights() const {
    int64_t total = 0;
    for (const TensorPlan& tensor : plan_.tensors) {
      total += tensor.source->elements();
    }
    return total;
  }

  void Note(const TensorPlan& tensor, const Encoded& encoded) {
    QuantizeReport::Format& format = formats_[tensor.format()];
    format.name = tensor.format();
    ++format.tensors;
    format.weights += tensor.source->elements();
    format.bytes += tensor.bytes();
    const double error = encoded.squared_norm > 0 ? std::sqrt(encoded.squared_error / encoded.squared_norm) : 0;
    if (error > format.worst_error) {
      format.worst_error = error;
      format.worst_tensor = tensor.source->name;
    }
    if (tensor.codec != nullptr) {
      report_.matrix_weights += tensor.source->elements();
      report_.matrix_bytes += tensor.bytes();
    }
  }

  void FillReport() {
    for (const TensorPlan& tensor : plan_.tensors) {
      report_.weights += tensor.source->elements();
      report_.bytes_after += tensor.bytes();
    }
    report_.bytes_before = source_.model->info.weight_bytes;
    for (auto& [name, format] : formats_) {
      report_.formats.push_back(std::move(format));
    }
    std::sort(report_.formats.begin(), report_.formats.end(),
              [](const auto& a, const auto& b) { return a.bytes > b.bytes; });
  }

  // ---- Proof -----------------------------------------------------------------------------------------

  // The written model loads, is the same network, and reads text alike.
  Result<void> ReadBack(const std::string& path) {
    LoadOptions load;
    load.model = path;
    load.round_inputs = false;
    auto written = LoadModel(load);
    if (!written.ok()) {
      return written.error().WithContext("what was written cannot be read");
    }
    const Model& model = **written;
    const std::string difference = DifferenceOf(*source_.model->network, *model.network);
    // llama.cpp has no window for these models; its converter drops it, and so does everyone who serves the file.
    const bool mistral = source_.model->info.family == "mistral" && difference.ends_with("window of attention");
    if (mistral) {
      report_.notes.push_back("GGUF files of this family have no window: attention reaches over the whole context");
    } else if (!difference.empty()) {
      return MakeError(ErrorCode::kUnsupported,
                       fmt::format("this format has no words for a part of the model: {}", difference));
    }
    const bool to_gguf = options_.plan.recipe.container == Container::kGguf;
    if (!to_gguf && source_.model->info.family == "gpt2") {
      report_.notes.push_back("compressed-tensors' own library knows no Conv1D, which GPT-2's layers are there");
    }
    if (source_.model->tokenizer != nullptr && (to_gguf || source_.container == Container::kGguf)) {
      ASSIGN_OR_RETURN(const auto before, source_.model->tokenizer->Encode(kSampleText, {}));
      ASSIGN_OR_RETURN(const auto after, model.tokenizer->Encode(kSampleText, {}));
      if (before != after) {
        return MakeError(ErrorCode::kUnsupported, fmt::format("this model's tokenizer cannot be said in {}",
                                                              to_gguf ? "a GGUF file" : "tokenizer.json"));
      }
      NoteLostFlags(model);
    }
    return {};
  }

  void NoteLostFlags(const Model& written) {
    const auto flagged = [](const Model& model) {
      const auto tokens = model.tokenizer->added_tokens();
      return std::count_if(tokens.begin(), tokens.end(),
                           [](const AddedToken& token) { return token.lstrip || token.rstrip || token.single_word; });
    };
    if (const auto lost = flagged(*source_.model) - flagged(written); lost > 0) {
      report_.notes.push_back(fmt::format(
          "GGUF files cannot say that {} added tokens take white space with them or stand as words only", lost));
    }
  }

  const QuantizeOptions& options_;
  const kernels::Ops& ops_;
  ThreadPool& pool_;
  kernels::Scratch scratch_;
  kernels::Stream stream_;
  Source source_;
  Plan plan_;
  std::unique_ptr<Calibration> calibration_;
  std::map<Input, GptqFactor> factors_;
  int64_t factors_layer_ = -1;
  int64_t done_weights_ = 0;
  std::map<std::string, QuantizeReport::Format> formats_;
  QuantizeReport report_;
};

}  // namespace

Result<QuantizeReport> Quantize(const QuantizeOptions& options, const kernels::Ops& ops, ThreadPool& pool) {
  return Quantizer(options, ops, pool).Run();
}

}  // namespace causeway::model::quantize
