// The built-in model against its reference values.
#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "base/json.h"
#include "model/network.h"
#include "model/sequence_runner.h"
#include "model/tokenizer/tokenizer.h"
#include "model/verify.h"
#include "tests/support/shared_data.h"

namespace causeway::model {
namespace {

// KL divergence in nats over the reference's best tokens and the rest as one, which bounds the whole from below.
double DivergenceOverBest(const Json& top, double log_total, std::span<const float> logits) {
  const float largest = *std::max_element(logits.begin(), logits.end());
  double total = 0;
  for (const float logit : logits) {
    total += std::exp(static_cast<double>(logit) - static_cast<double>(largest));
  }
  double divergence = 0;
  double p_rest = 1;
  double q_rest = 1;
  for (const Json& pair : top) {
    const double p = std::exp(pair[1].get<double>() - log_total);
    const double q =
        std::exp(static_cast<double>(logits[pair[0].get<size_t>()]) - static_cast<double>(largest)) / total;
    divergence += p * std::log(p / q);
    p_rest -= p;
    q_rest -= q;
  }
  return divergence + p_rest * std::log(p_rest / q_rest);
}

TEST(FableTest, LogitsAndGreedyTokensMatchTheReference) {
  const auto model = *LoadModel({});
  const auto reference = *ParseJson(ReadWholeFile("model/builtin/fable/eval/reference.json"));
  ThreadPool pool({.threads = 1, .pin = false});
  for (const kernels::Ops* ops : kernels::AllOps()) {
    if (!kernels::CanRun(*ops) || ops->name == "ref" || !ops->extends.empty()) {
      continue;  // the reference kernels are covered by the families and too slow for this; no weight is in panels
    }
    const bool rounded = RoundingOf(*model, *ops) != ActivationRounding::kNone;
    auto runner = *SequenceRunner::Create(*model, *ops, pool, {.max_positions = 2048});
    for (const Json& prompt : reference["prompts"]) {
      const auto tokens = prompt["token_ids"].get<std::vector<Token>>();
      const auto text = prompt["text"].get<std::string>();
      const size_t written_bos = text.starts_with("<|bos|>") ? 0 : 1;
      EXPECT_EQ(*model->tokenizer->Encode(text, {.add_special_tokens = false}),
                std::vector<Token>(tokens.begin() + static_cast<ptrdiff_t>(written_bos), tokens.end()));
      std::vector<float> last;
      runner->runner().SetLogitsObserver([&](const scheduler::PlanRow&, int64_t position, std::span<const float> row) {
        if (position + 1 == static_cast<int64_t>(tokens.size())) {
          last.assign(row.begin(), row.end());
        }
      });
      Token token = *runner->Prefill(0, tokens, true);
      runner->runner().SetLogitsObserver({});
      for (const Json& pair : prompt["top20"]) {
        EXPECT_NEAR(last[pair[0].get<size_t>()], pair[1].get<double>(), rounded ? 0.2 : 1e-3) << ops->name;
      }
      EXPECT_LE(DivergenceOverBest(prompt["top20"], prompt["log_sum_exp"].get<double>(), last), rounded ? 1e-3 : 1e-6)
          << ops->name;
      const auto greedy = prompt["greedy_32"].get<std::vector<Token>>();
      for (size_t i = 0; i < greedy.size(); ++i) {
        if (token != greedy[i]) {
          EXPECT_LE(prompt["greedy_margins"][i].get<double>(), rounded ? 0.1 : 2e-3) << ops->name << " token " << i;
          break;  // a coin toss; what follows cannot be compared
        }
        token = (*runner->Decode({&token, 1}))[0];
      }
    }
  }
}

}  // namespace
}  // namespace causeway::model
