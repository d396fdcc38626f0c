#include "model/verify.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <vector>

#include "base/json.h"
#include "fmt/format.h"
#include "model/files.h"
#include "model/network.h"
#include "model/safetensors.h"
#include "model/safetensors_writer.h"
#include "model/sequence_runner.h"

namespace causeway::model {
namespace {

constexpr double kLogitTolerance = 1e-3;
constexpr double kHiddenTolerance = 1e-4;  // of the row's largest magnitude
constexpr double kMarginTolerance = 2e-3;

struct Golden {
  std::unique_ptr<ModelFiles> files;
  TensorMap tensors;
  std::vector<std::vector<Token>> prompts;
  std::vector<std::vector<Token>> greedy;
  std::vector<std::vector<double>> margins;
};

Result<Golden> ReadGolden(const std::string& folder) {
  Golden golden;
  ASSIGN_OR_RETURN(golden.files, OpenFolder(folder));
  ASSIGN_OR_RETURN(const auto tensors, golden.files->Open("golden.safetensors"));
  ASSIGN_OR_RETURN(golden.tensors, ParseSafetensors(tensors));
  ASSIGN_OR_RETURN(const auto text, golden.files->Open("golden.json"));
  ASSIGN_OR_RETURN(const Json json, ParseJson(AsText(text)));
  try {  // nlohmann's at() and get() throw where a field is missing
    golden.prompts = json.at("prompts").get<std::vector<std::vector<Token>>>();
    golden.greedy = json.at("greedy").get<std::vector<std::vector<Token>>>();
    const char* const margins = json.contains("margins") ? "margins" : "margin";
    golden.margins = json.at(margins).get<std::vector<std::vector<double>>>();
  } catch (const Json::exception& e) {
    return MakeError(ErrorCode::kInvalidArgument, std::string("golden.json: ") + e.what());
  }
  return golden;
}

// A golden tensor as floats, if it is F32 of this many values.
Result<std::vector<float>> Values(const Golden& golden, const std::string& name, size_t count) {
  const auto it = golden.tensors.find(name);
  if (it == golden.tensors.end() || it->second.dtype != "F32" ||
      it->second.data.size() != count * sizeof(float)) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("golden.safetensors has no F32 tensor {} of {} values", name, count));
  }
  std::vector<float> values(count);
  std::memcpy(values.data(), it->second.data.data(), it->second.data.size());
  return values;
}

class Verifier {
 public:
  Verifier(const Model& model, const Golden& golden, SequenceRunner& runner)
      : model_(model), golden_(golden), runner_(runner) {}

  Result<VerifyCase> Check(size_t prompt) {
    VerifyCase one{fmt::format("prompt {} ({} tokens)", prompt, golden_.prompts[prompt].size()), true, {}};
    ASSIGN_OR_RETURN(const double logit_difference, CheckLogits(prompt));
    one.detail = fmt::format("logits differ by at most {:.2e}", logit_difference);
    one.passed = logit_difference <= kLogitTolerance;
    if (prompt == 0) {
      ASSIGN_OR_RETURN(const double hidden_difference, CheckHidden());
      one.detail += fmt::format(", hidden states by {:.2e} of the row", hidden_difference);
      one.passed = one.passed && hidden_difference <= kHiddenTolerance;
    }
    ASSIGN_OR_RETURN(const std::string tokens, CheckGreedy(prompt));
    one.passed = one.passed && tokens.empty();
    one.detail += tokens.empty() ? ", greedy tokens equal" : ", " + tokens;
    return one;
  }

  const std::vector<std::vector<float>>& logits() const { return all_logits_; }

 private:
  Result<double> CheckLogits(size_t prompt) {
    const auto& tokens = golden_.prompts[prompt];
    std::vector<float>& got = all_logits_.emplace_back();
    hidden_.clear();
    runner_.runner().SetLogitsObserver([&](const scheduler::PlanRow&, int64_t, std::span<const float> row) {
      got.insert(got.end(), row.begin(), row.end());
    });
    runner_.runner().SetHiddenObserver([&](int index, std::span<const float> values, int64_t) {
      std::vector<float>& layer = hidden_[index];
      layer.insert(layer.end(), values.begin(), values.end());
    });
    TRY(runner_.Prefill(0, tokens, false));
    runner_.runner().SetLogitsObserver({});
    runner_.runner().SetHiddenObserver({});
    ASSIGN_OR_RETURN(const auto wanted, Values(golden_, fmt::format("logits.{}", prompt), got.size()));
    double largest = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      const double difference = std::fabs(static_cast<double>(got[i]) - static_cast<double>(wanted[i]));
      largest = difference <= largest ? largest : difference;  // a NaN becomes the largest
    }
    return largest;
  }

  Result<double> CheckHidden() {
    double largest = 0;
    const auto width = static_cast<size_t>(model_.network->hidden);
    for (const auto& [index, got] : hidden_) {
      ASSIGN_OR_RETURN(const auto wanted, Values(golden_, fmt::format("hidden.{}", index), got.size()));
      for (size_t row = 0; row < got.size(); row += width) {
        double scale = 0;
        double difference = 0;
        for (size_t i = row; i < row + width; ++i) {
          scale = std::max(scale, std::fabs(static_cast<double>(wanted[i])));
          difference = std::max(difference, std::fabs(static_cast<double>(got[i]) - static_cast<double>(wanted[i])));
        }
        largest = std::max(largest, difference / std::max(scale, 1e-30));
      }
    }
    return largest;
  }

  // The reference takes longrope's other list for all of a sequence that grows beyond the original length.
  bool CrossesLongRope(size_t tokens) const {
    return std::any_of(model_.network->ropes.begin(), model_.network->ropes.end(), [&](const Rope& rope) {
      return rope.long_beyond > 0 && static_cast<int64_t>(tokens) == rope.long_beyond + 1;
    });
  }

  // Empty if the greedy tokens are as recorded.
  Result<std::string> CheckGreedy(size_t prompt) {
    const auto& wanted = golden_.greedy[prompt];
    std::vector<Token> sequence = golden_.prompts[prompt];
    ASSIGN_OR_RETURN(Token token,
                     runner_.Prefill(0, sequence, true, static_cast<int64_t>(sequence.size())));
    for (size_t i = 0; i < wanted.size(); ++i) {
      if (token != wanted[i]) {
        return golden_.margins[prompt][i] > kMarginTolerance
                   ? fmt::format("greedy token {} is {}, not {} (margin {:.4f})", i, token, wanted[i],
                                 golden_.margins[prompt][i])
                   : std::string();  // a coin toss; what follows cannot be compared
      }
      sequence.push_back(token);
      if (i + 1 < wanted.size() && CrossesLongRope(sequence.size())) {
        ASSIGN_OR_RETURN(token, runner_.Prefill(0, sequence, true, static_cast<int64_t>(sequence.size())));
      } else if (i + 1 < wanted.size()) {
        ASSIGN_OR_RETURN(const auto next, runner_.Decode({&token, 1}));
        token = next[0];
      }
    }
    return std::string();
  }

  const Model& model_;
  const Golden& golden_;
  SequenceRunner& runner_;
  std::map<int, std::vector<float>> hidden_;
  std::vector<std::vector<float>> all_logits_;
};

Result<void> Dump(const std::string& path, const std::vector<std::vector<float>>& logits, int64_t vocab) {
  std::vector<TensorToWrite> tensors;
  for (size_t i = 0; i < logits.size(); ++i) {
    tensors.push_back({fmt::format("logits.{}", i), "F32",
                       {static_cast<int64_t>(logits[i].size()) / vocab, vocab},
                       static_cast<int64_t>(logits[i].size() * sizeof(float))});
  }
  return WriteSafetensors(path, tensors, [&](size_t index, const auto& write) {
    write(std::as_bytes(std::span(logits[index])));
  });
}

}  // namespace

Result<VerifyReport> VerifyModel(const std::string& folder, const kernels::Ops& ops, ThreadPool& pool,
                                 const VerifyOptions& options) {
  ASSIGN_OR_RETURN(const auto model, LoadModel({.model = folder, .weights = true, .progress = {}, .hub_caches = {}}));
  ASSIGN_OR_RETURN(const Golden golden, ReadGolden(folder));
  if (golden.greedy.size() < golden.prompts.size() || golden.margins.size() < golden.prompts.size()) {
    return MakeError(ErrorCode::kInvalidArgument, "golden.json: greedy or margins has too few entries");
  }
  size_t longest = 0;
  for (size_t i = 0; i < golden.prompts.size(); ++i) {
    longest = std::max(longest, golden.prompts[i].size() + golden.greedy[i].size());
  }
  ASSIGN_OR_RETURN(const auto runner,
                   SequenceRunner::Create(*model, ops, pool,
                                          {.kv_format = kernels::KvFormat::kF32,
                                           .max_positions = static_cast<int64_t>(longest) + 1,
                                           .max_sequences = 1,
                                           .chunk = options.chunk}));
  Verifier verifier(*model, golden, *runner);
  VerifyReport report;
  for (size_t prompt = 0; prompt < golden.prompts.size(); ++prompt) {
    ASSIGN_OR_RETURN(VerifyCase one, verifier.Check(prompt));
    report.cases.push_back(std::move(one));
  }
  if (!options.dump.empty()) {
    TRY(Dump(options.dump, verifier.logits(), model->network->vocab));
  }
  return report;
}

}  // namespace causeway::model
