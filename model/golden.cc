#include "model/golden.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/json.h"
#include "fmt/format.h"
#include "model/files.h"
#include "model/safetensors.h"

namespace causeway::model {
namespace {

Result<std::vector<float>> FloatsOf(const TensorMap& tensors, const std::string& name) {
  const auto it = tensors.find(name);
  if (it == tensors.end() || it->second.dtype != "F32") {
    return MakeError(ErrorCode::kInvalidArgument, fmt::format("golden.safetensors has no F32 tensor {}", name));
  }
  std::vector<float> values(it->second.data.size() / sizeof(float));
  std::memcpy(values.data(), it->second.data.data(), values.size() * sizeof(float));
  return values;
}

double MarginOf(std::span<const float> logits) {
  float best = -HUGE_VALF;
  float second = -HUGE_VALF;
  for (const float logit : logits) {
    second = std::max(second, std::min(best, logit));
    best = std::max(best, logit);
  }
  return static_cast<double>(best) - static_cast<double>(second);
}

}  // namespace

Result<Golden> ReadGolden(const std::string& folder, const std::string& run) {
  ASSIGN_OR_RETURN(const auto files, OpenFolder(folder));
  ASSIGN_OR_RETURN(const auto data, files->Open("golden.safetensors"));
  ASSIGN_OR_RETURN(const TensorMap tensors, ParseSafetensors(data));
  ASSIGN_OR_RETURN(const auto text, files->Open("golden.json"));
  ASSIGN_OR_RETURN(const Json whole, ParseJson(AsText(text)));
  const std::string prefix = run.empty() ? run : run + ".";
  Golden golden;
  try {  // nlohmann's at() and get() throw where a field is missing
    const Json& json = run.empty() ? whole : whole.at("runs").at(run);
    const Json& margins = json.at(json.contains("margins") ? "margins" : "margin");
    for (size_t i = 0; i < json.at("prompts").size(); ++i) {
      golden.prompts.push_back({.tokens = json.at("prompts").at(i).get<std::vector<Token>>(),
                                .logits = {},
                                .greedy = json.at("greedy").at(i).get<std::vector<Token>>(),
                                .margins = margins.at(i).get<std::vector<double>>()});
    }
  } catch (const Json::exception& e) {
    return MakeError(ErrorCode::kInvalidArgument, std::string("golden.json: ") + e.what());
  }
  for (size_t i = 0; i < golden.prompts.size(); ++i) {
    GoldenPrompt& prompt = golden.prompts[i];
    if (prompt.tokens.empty() || prompt.margins.size() < prompt.greedy.size()) {
      return MakeError(ErrorCode::kInvalidArgument,
                       fmt::format("golden.json: prompt {} has no tokens or too few margins", i));
    }
    ASSIGN_OR_RETURN(prompt.logits, FloatsOf(tensors, fmt::format("{}logits.{}", prefix, i)));
  }
  golden.quantized_inputs = tensors.contains("linear.xq");
  for (int i = 0; tensors.contains(fmt::format("hidden.{}", i)); ++i) {
    ASSIGN_OR_RETURN(golden.hidden[i], FloatsOf(tensors, fmt::format("hidden.{}", i)));
  }
  return golden;
}

Result<std::vector<float>> LogitsOf(SequenceRunner& runner, std::span<const Token> tokens,
                                    std::map<int, std::vector<float>>* hidden) {
  std::vector<float> logits;
  runner.runner().SetLogitsObserver([&](const scheduler::PlanRow&, int64_t, std::span<const float> values) {
    logits.insert(logits.end(), values.begin(), values.end());
  });
  if (hidden != nullptr) {
    hidden->clear();
    runner.runner().SetHiddenObserver([&](int index, std::span<const float> values, int64_t) {
      std::vector<float>& layer = (*hidden)[index];
      layer.insert(layer.end(), values.begin(), values.end());
    });
  }
  const auto done = runner.Prefill(0, tokens, false);
  runner.runner().SetLogitsObserver({});
  runner.runner().SetHiddenObserver({});
  if (!done.ok()) {
    return done.error();
  }
  return logits;
}

Result<Golden> ComputeGolden(SequenceRunner& runner, const std::vector<std::vector<Token>>& prompts,
                             size_t greedy_tokens) {
  Golden golden;
  for (const std::vector<Token>& tokens : prompts) {
    GoldenPrompt prompt{tokens, {}, {}, {}};
    ASSIGN_OR_RETURN(prompt.logits, LogitsOf(runner, tokens, golden.prompts.empty() ? &golden.hidden : nullptr));
    std::vector<float> last;
    runner.runner().SetLogitsObserver([&](const scheduler::PlanRow&, int64_t, std::span<const float> values) {
      const size_t vocab = prompt.logits.size() / tokens.size();
      last.assign(values.end() - static_cast<ptrdiff_t>(vocab), values.end());
    });
    ASSIGN_OR_RETURN(Token token, runner.Prefill(0, tokens, true, static_cast<int64_t>(tokens.size())));
    while (prompt.greedy.size() < greedy_tokens) {
      prompt.greedy.push_back(token);
      prompt.margins.push_back(MarginOf(last));
      ASSIGN_OR_RETURN(const auto next, runner.Decode({&token, 1}));
      token = next[0];
    }
    runner.runner().SetLogitsObserver({});
    golden.prompts.push_back(std::move(prompt));
  }
  return golden;
}

}  // namespace causeway::model
