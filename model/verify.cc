#include "model/verify.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "model/files.h"
#include "model/gguf/reader.h"
#include "model/network.h"
#include "model/quant/reader.h"
#include "model/safetensors_writer.h"
#include "model/verify_adapters.h"
#include "model/verify_weights.h"

namespace causeway::model {
namespace {

constexpr double kLogitTolerance = 1e-3;
constexpr double kHiddenTolerance = 1e-4;  // of the row's largest magnitude
constexpr double kMarginTolerance = 2e-3;
// What a golden may differ by: mean KL divergence in nats a position, and the margin up to which another token may be
// the best one.
struct Rounding {
  double divergence;
  double margin;
};
constexpr Rounding kBF16Activations = {1e-3, 0.1};
constexpr Rounding kInt8Activations = {1e-2, 0.5};
// A golden whose inputs were rounded to 8 bits: one code beyond a boundary moves it by more than float error.
constexpr Rounding kQuantizedInputs = {3e-4, 0.1};

double Distance(float a, float b) { return std::fabs(static_cast<double>(a) - static_cast<double>(b)); }

double LargestDifference(std::span<const float> got, std::span<const float> wanted) {
  double largest = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double difference = Distance(got[i], wanted[i]);
    largest = difference <= largest ? largest : difference;  // a NaN becomes the largest
  }
  return largest;
}

double LogSumExp(std::span<const float> row) {
  const auto largest = static_cast<double>(*std::max_element(row.begin(), row.end()));
  double sum = 0;
  for (const float value : row) {
    sum += std::exp(static_cast<double>(value) - largest);
  }
  return largest + std::log(sum);
}

// KL(golden || got) of one position in nats.
double Divergence(std::span<const float> got, std::span<const float> golden) {
  const double got_total = LogSumExp(got);
  const double golden_total = LogSumExp(golden);
  double sum = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double log_p = static_cast<double>(golden[i]) - golden_total;
    sum += std::exp(log_p) * (log_p - (static_cast<double>(got[i]) - got_total));
  }
  return sum;
}

// How far the best golden token lies ahead of the one that `got` likes best; 0 where they agree.
double MarginLost(std::span<const float> got, std::span<const float> golden) {
  const auto best = std::max_element(got.begin(), got.end()) - got.begin();
  const float golden_best = *std::max_element(golden.begin(), golden.end());
  return static_cast<double>(golden_best) - static_cast<double>(golden[static_cast<size_t>(best)]);
}

class Verifier {
 public:
  // Without `rounding` the plain tolerances hold.
  Verifier(const Model& model, const Golden& golden, std::optional<Rounding> rounding, SequenceRunner& runner)
      : model_(model), golden_(golden), rounding_(rounding), runner_(runner) {}

  Result<VerifyCase> Check(size_t index) {
    const GoldenPrompt& prompt = golden_.prompts[index];
    VerifyCase one{fmt::format("prompt {} ({} tokens)", index, prompt.tokens.size()), true, {}};
    std::map<int, std::vector<float>> hidden;
    ASSIGN_OR_RETURN(logits_.emplace_back(),
                     LogitsOf(runner_, prompt.tokens, index == 0 && !golden_.hidden.empty() ? &hidden : nullptr));
    TRY(CheckSize(fmt::format("logits.{}", index), prompt.logits, logits_.back()));
    CheckLogits(prompt, logits_.back(), one);
    if (!hidden.empty()) {
      TRY(CheckHidden(hidden, one));
    }
    ASSIGN_OR_RETURN(const std::string tokens, CheckGreedy(prompt));
    one.passed = one.passed && tokens.empty();
    one.detail += tokens.empty() ? ", greedy tokens equal" : ", " + tokens;
    return one;
  }

  const std::vector<std::vector<float>>& logits() const { return logits_; }

 private:
  static Result<void> CheckSize(const std::string& name, std::span<const float> golden, std::span<const float> got) {
    if (golden.size() == got.size()) {
      return {};
    }
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("golden {} has {} values, the model computes {}", name, golden.size(), got.size()));
  }

  void CheckLogits(const GoldenPrompt& prompt, std::span<const float> got, VerifyCase& one) const {
    const double difference = LargestDifference(got, prompt.logits);
    one.detail = fmt::format("logits differ by at most {:.2e}", difference);
    if (!rounding_) {
      one.passed = difference <= kLogitTolerance;
      return;
    }
    const auto vocab = static_cast<size_t>(model_.network->vocab);
    double divergence = 0;
    double lost = 0;
    for (size_t row = 0; row < got.size(); row += vocab) {
      const std::span<const float> golden = std::span(prompt.logits).subspan(row, vocab);
      divergence += Divergence(got.subspan(row, vocab), golden);
      lost = std::max(lost, MarginLost(got.subspan(row, vocab), golden));
    }
    divergence /= static_cast<double>(prompt.tokens.size());
    one.detail += fmt::format(", mean KL {:.2e} nats, best tokens equal beyond a margin of {:.3f}", divergence, lost);
    one.passed = divergence <= rounding_->divergence && lost <= rounding_->margin;  // not if one of them is NaN
  }

  Result<void> CheckHidden(const std::map<int, std::vector<float>>& hidden, VerifyCase& one) const {
    double largest = 0;
    const auto width = static_cast<size_t>(model_.network->hidden);
    for (const auto& [index, got] : hidden) {
      const auto found = golden_.hidden.find(index);
      const std::span<const float> wanted =
          found == golden_.hidden.end() ? std::span<const float>() : std::span<const float>(found->second);
      TRY(CheckSize(fmt::format("hidden.{}", index), wanted, got));
      for (size_t row = 0; row < got.size(); row += width) {
        double scale = 1e-30;
        for (const float value : wanted.subspan(row, width)) {
          scale = std::max(scale, std::fabs(static_cast<double>(value)));
        }
        const double difference =
            LargestDifference(std::span(got).subspan(row, width), wanted.subspan(row, width)) / scale;
        largest = difference <= largest ? largest : difference;
      }
    }
    one.detail += fmt::format(", hidden states by {:.2e} of the row", largest);
    one.passed = one.passed && (rounding_ || largest <= kHiddenTolerance);
    return {};
  }

  // The reference takes longrope's other list for all of a sequence that grows beyond the original length.
  bool CrossesLongRope(size_t tokens) const {
    return std::any_of(model_.network->ropes.begin(), model_.network->ropes.end(), [&](const Rope& rope) {
      return rope.long_beyond > 0 && static_cast<int64_t>(tokens) == rope.long_beyond + 1;
    });
  }

  // Empty if the greedy tokens are as recorded.
  Result<std::string> CheckGreedy(const GoldenPrompt& prompt) {
    const double tolerance = rounding_ ? rounding_->margin : kMarginTolerance;
    std::vector<Token> sequence = prompt.tokens;
    const auto prefill = [&] { return runner_.Prefill(0, sequence, true, static_cast<int64_t>(sequence.size())); };
    ASSIGN_OR_RETURN(Token token, prefill());
    for (size_t i = 0; i < prompt.greedy.size(); ++i) {
      if (token != prompt.greedy[i]) {
        return prompt.margins[i] > tolerance ? fmt::format("greedy token {} is {}, not {} (margin {:.4f})", i, token,
                                                           prompt.greedy[i], prompt.margins[i])
                                             : std::string();  // a coin toss; what follows cannot be compared
      }
      sequence.push_back(token);
      if (i + 1 < prompt.greedy.size() && CrossesLongRope(sequence.size())) {
        ASSIGN_OR_RETURN(token, prefill());
      } else if (i + 1 < prompt.greedy.size()) {
        ASSIGN_OR_RETURN(const auto next, runner_.Decode({&token, 1}));
        token = next[0];
      }
    }
    return std::string();
  }

  const Model& model_;
  const Golden& golden_;
  const std::optional<Rounding> rounding_;
  SequenceRunner& runner_;
  std::vector<std::vector<float>> logits_;
};

}  // namespace

Result<void> DumpLogits(const std::string& path, const NamedLogits& logits, int64_t vocab) {
  std::vector<TensorToWrite> tensors;
  for (const auto& [name, values] : logits) {
    tensors.push_back({name,
                       "F32",
                       {static_cast<int64_t>(values.size()) / vocab, vocab},
                       static_cast<int64_t>(values.size() * sizeof(float))});
  }
  return WriteSafetensors(
      path, tensors, [&](size_t index, const auto& write) { write(std::as_bytes(std::span(logits[index].second))); });
}

ActivationRounding RoundingOf(const Model& model, const kernels::Ops& ops) {
  ActivationRounding most = ActivationRounding::kNone;
  const auto add = [&](const Projection& projection) {
    const kernels::WeightView& weight = projection.weight;
    if (weight.layout == kernels::WeightLayout::kPanels) {
      most = ActivationRounding::kInt8;
    } else if (weight.format == kernels::FormatId::kBF16 && weight.columns > ops.rounds_x_beyond) {
      most = std::max(most, ActivationRounding::kBF16);
    }
  };
  add(model.network->head);
  for (const Layer& layer : model.network->layers) {
    for (const Projection* projection : {&layer.attention.q, &layer.attention.k, &layer.attention.v, &layer.attention.o,
                                         &layer.mlp.gate, &layer.mlp.up, &layer.mlp.down}) {
      add(*projection);
    }
  }
  return most;
}

namespace {

std::optional<Rounding> ToleranceOf(const Model& model, const Golden& golden, const kernels::Ops& ops) {
  if (golden.quantized_inputs) {
    return kQuantizedInputs;
  }
  switch (RoundingOf(model, ops)) {
    case ActivationRounding::kNone: break;
    case ActivationRounding::kBF16: return kBF16Activations;
    case ActivationRounding::kInt8: return kInt8Activations;
  }
  return std::nullopt;
}

}  // namespace

Result<VerifyReport> VerifyRun(const Golden& golden, const Model& model, const scheduler::Adapter* adapter,
                               const kernels::Ops& ops, ThreadPool& pool, const VerifyOptions& options,
                               const std::string& prefix, NamedLogits& logits) {
  size_t longest = 0;
  for (const GoldenPrompt& prompt : golden.prompts) {
    longest = std::max(longest, prompt.tokens.size() + prompt.greedy.size());
  }
  ASSIGN_OR_RETURN(const auto runner, SequenceRunner::Create(model, ops, pool,
                                                             {.kv_format = kernels::KvFormat::kF32,
                                                              .max_positions = static_cast<int64_t>(longest) + 1,
                                                              .max_sequences = 1,
                                                              .chunk = options.chunk}));
  runner->SetAdapter(0, adapter);
  Verifier verifier(model, golden, ToleranceOf(model, golden, ops), *runner);
  VerifyReport report;
  for (size_t prompt = 0; prompt < golden.prompts.size(); ++prompt) {
    ASSIGN_OR_RETURN(VerifyCase one, verifier.Check(prompt));
    one.name.insert(0, prefix);
    report.cases.push_back(std::move(one));
    logits.emplace_back(fmt::format("{}logits.{}", prefix, prompt), verifier.logits().back());
  }
  return report;
}

Result<VerifyReport> VerifyAgainst(const Golden& golden, const Model& model, const kernels::Ops& ops, ThreadPool& pool,
                                   const VerifyOptions& options) {
  NamedLogits logits;
  ASSIGN_OR_RETURN(VerifyReport report, VerifyRun(golden, model, nullptr, ops, pool, options, {}, logits));
  if (!options.dump.empty()) {
    TRY(DumpLogits(options.dump, logits, model.network->vocab));
  }
  return report;
}

namespace {

// The folder in which the golden values of a model lie, given that or the model's file.
std::string GoldenFolder(const std::string& path) {
  std::error_code ignored;
  const std::filesystem::path file = path;
  return std::filesystem::is_directory(file, ignored) ? path
         : file.has_parent_path()                     ? file.parent_path().string()
                                                      : ".";
}

// What golden.json says beside the logits. Tensors go by the names of their file.
Result<void> VerifyBeside(const std::string& path, const Json& golden, const Model& model, VerifyReport& report) {
  if (golden.contains("dequant_sha256")) {
    ASSIGN_OR_RETURN(const ModelPlace place, FindModel(path, {}));
    ASSIGN_OR_RETURN(const auto files, OpenFolder(place.folder));
    Checkpoint checkpoint;
    if (!place.gguf.empty()) {
      ASSIGN_OR_RETURN(gguf::File file, gguf::Load(*files, place.gguf));
      checkpoint.tensors = std::move(file.tensors);
    } else {
      ASSIGN_OR_RETURN(checkpoint.config, quant::ReadModelConfig(*files));
      ASSIGN_OR_RETURN(checkpoint.tensors, LoadTensors(*files));
      if (const Json* const quantization = quant::FindQuantization(checkpoint.config); quantization != nullptr) {
        TRY(quant::Translate(*quantization, checkpoint, {}));
      }
    }
    ASSIGN_OR_RETURN(VerifyCase one, VerifyDequantized(golden, checkpoint));
    report.cases.push_back(std::move(one));
  }
  if (golden.contains("tokenize") && model.tokenizer != nullptr) {
    ASSIGN_OR_RETURN(VerifyCase one, VerifyTexts(golden, *model.tokenizer));
    report.cases.push_back(std::move(one));
  }
  return {};
}

}  // namespace

Result<VerifyReport> VerifyModel(const std::string& path, const kernels::Ops& ops, ThreadPool& pool,
                                 const VerifyOptions& options) {
  const std::string folder = GoldenFolder(path);
  ASSIGN_OR_RETURN(const auto files, OpenFolder(folder));
  if (files->Has("golden.json")) {
    ASSIGN_OR_RETURN(const Json json, ReadJsonObject(*files, "golden.json"));
    if (IsAboutFiles(json)) {
      return VerifyFiles(json, folder);
    }
    if (HasAdapterRuns(json)) {
      return VerifyAdapters(folder, json, ops, pool, options);
    }
  }
  ASSIGN_OR_RETURN(const Golden golden, ReadGolden(folder));
  LoadOptions load;
  load.model = path;
  load.round_inputs = golden.quantized_inputs;
  // Weights in panels would round inputs in a finer way than the golden's.
  load.pack_on = options.int8_activations && !golden.quantized_inputs ? &pool : nullptr;
  ASSIGN_OR_RETURN(const auto model, LoadModel(load));
  ASSIGN_OR_RETURN(VerifyReport report, VerifyAgainst(golden, *model, ops, pool, options));
  ASSIGN_OR_RETURN(const Json json, ReadJsonObject(*files, "golden.json"));
  try {  // nlohmann's at() and get() throw where a field is missing
    TRY(VerifyBeside(path, json, *model, report));
  } catch (const Json::exception& e) {
    return MakeError(ErrorCode::kInvalidArgument, std::string("golden.json: ") + e.what());
  }
  return report;
}

}  // namespace causeway::model
