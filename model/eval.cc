#include "model/eval.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/json.h"
#include "fmt/format.h"
#include "model/sequence_runner.h"
#include "model/tokenizer/tokenizer.h"

namespace causeway::model {
namespace {

Result<Token> BeginToken(const Model& model) {
  if (model.tokenizer == nullptr) {
    return MakeError(ErrorCode::kFailedPrecondition, "this model has no tokenizer.json");
  }
  const auto begin = model.tokenizer->TokenId(model.chat.bos_token);
  if (model.chat.bos_token.empty() || !begin) {
    return MakeError(ErrorCode::kFailedPrecondition, "this model's tokenizer_config.json names no bos_token");
  }
  return *begin;
}

// -log p(token) from a row of logits.
double NegativeLogLikelihood(std::span<const float> logits, Token token) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) {
    sum += std::exp(static_cast<double>(logit) - largest);
  }
  return largest + std::log(sum) - static_cast<double>(logits[static_cast<size_t>(token)]);
}

}  // namespace

Result<PerplexityResult> EvalPerplexity(const Model& model, const kernels::Ops& ops, ThreadPool& pool,
                                        const EvalRun& run, std::string_view text, int64_t window, int64_t stride,
                                        const EvalProgress& progress) {
  if (window < 2 || stride < 1 || stride >= window) {
    return MakeError(ErrorCode::kInvalidArgument, "the window must be at least 2 and the stride below it", "stride");
  }
  if (window > model.info.context_length) {
    return MakeError(
        ErrorCode::kInvalidArgument,
        fmt::format("the window of {} is over the model's context of {} tokens", window, model.info.context_length),
        "window");
  }
  ASSIGN_OR_RETURN(const Token begin, BeginToken(model));
  ASSIGN_OR_RETURN(const auto tokens,
                   model.tokenizer->Encode(text, {.add_special_tokens = false, .parse_special = false}));
  const auto count = static_cast<int64_t>(tokens.size());
  if (count == 0) {
    return MakeError(ErrorCode::kInvalidArgument, "the text is empty");
  }
  ASSIGN_OR_RETURN(
      const auto runner,
      SequenceRunner::Create(
          model, ops, pool,
          {.kv_format = run.kv_format, .max_positions = window, .max_sequences = 1, .chunk = 512, .logits_rows = 64}));
  runner->SetAdapter(0, run.adapter);
  PerplexityResult result;
  double total = 0;
  int64_t scored = 0;  // tokens [0, scored) are done
  for (int64_t start = 0; scored < count; start += stride) {
    const int64_t end = std::min(start + window - 1, count);
    std::vector<Token> inputs = {begin};
    inputs.insert(inputs.end(), tokens.begin() + start, tokens.begin() + end);
    runner->runner().SetLogitsObserver([&](const scheduler::PlanRow&, int64_t position, std::span<const float> logits) {
      const int64_t next = start + position;  // the token that this position predicts
      if (next >= scored && next < end) {
        total += NegativeLogLikelihood(logits, tokens[static_cast<size_t>(next)]);
      }
    });
    TRY(runner->Prefill(0, inputs, false));
    runner->runner().SetLogitsObserver({});
    scored = end;
    progress(static_cast<double>(scored) / static_cast<double>(count),
             fmt::format("perplexity {:.4f}", std::exp(total / static_cast<double>(scored))));
  }
  result.tokens = count;
  result.nll = total / static_cast<double>(count);
  result.perplexity = std::exp(result.nll);
  return result;
}

namespace {

struct Item {
  std::vector<Token> prompt;
  std::vector<Token> answer;
  std::string kind;
  int64_t bucket = 0;
};

Result<std::vector<Item>> ReadItems(const Model& model, Token begin, std::string_view jsonl) {
  std::vector<Item> items;
  for (size_t at = 0; at < jsonl.size();) {
    const size_t end = std::min(jsonl.find('\n', at), jsonl.size());
    const std::string_view line = jsonl.substr(at, end - at);
    at = end + 1;
    if (line.empty()) {
      continue;
    }
    const auto parsed = ParseJson(line);
    if (!parsed.ok()) {
      return parsed.error().WithContext(fmt::format("item {}", items.size() + 1));
    }
    const Json& json = *parsed;
    Item item;
    try {  // nlohmann's at() and get() throw where a field is missing
      ASSIGN_OR_RETURN(item.prompt,
                       model.tokenizer->Encode(json.at("prompt").get<std::string>(), {.add_special_tokens = false}));
      item.answer = json.at("answer_tokens").get<std::vector<Token>>();
      item.kind = json.at("kind").get<std::string>();
      item.bucket = json.at("bucket").get<int64_t>();
    } catch (const Json::exception& e) {
      return MakeError(ErrorCode::kInvalidArgument, fmt::format("item {}: {}", items.size() + 1, e.what()));
    }
    if (item.prompt.empty() || item.prompt.front() != begin) {
      item.prompt.insert(item.prompt.begin(), begin);
    }
    const auto needed = static_cast<int64_t>(item.prompt.size() + item.answer.size());
    if (needed > model.info.context_length) {
      return MakeError(ErrorCode::kInvalidArgument,
                       fmt::format("item {}: prompt and answer have {} tokens, and the model's context holds {}",
                                   items.size() + 1, needed, model.info.context_length));
    }
    items.push_back(std::move(item));
  }
  if (items.empty()) {
    return MakeError(ErrorCode::kInvalidArgument, "there are no items");
  }
  return items;
}

Result<bool> Answers(SequenceRunner& runner, const Item& item) {
  ASSIGN_OR_RETURN(Token token, runner.Prefill(0, item.prompt, true));
  for (size_t i = 0; i < item.answer.size(); ++i) {
    if (token != item.answer[i]) {
      return false;
    }
    if (i + 1 < item.answer.size()) {
      ASSIGN_OR_RETURN(const auto next, runner.Decode({&token, 1}));
      token = next[0];
    }
  }
  return true;
}

}  // namespace

Result<RetrievalResult> EvalRetrieval(const Model& model, const kernels::Ops& ops, ThreadPool& pool, const EvalRun& run,
                                      std::string_view items_jsonl, const EvalProgress& progress) {
  ASSIGN_OR_RETURN(const Token begin, BeginToken(model));
  ASSIGN_OR_RETURN(const std::vector<Item> items, ReadItems(model, begin, items_jsonl));
  size_t longest = 1;
  for (const Item& item : items) {
    longest = std::max(longest, item.prompt.size() + item.answer.size());
  }
  ASSIGN_OR_RETURN(const auto runner,
                   SequenceRunner::Create(
                       model, ops, pool, {.kv_format = run.kv_format, .max_positions = static_cast<int64_t>(longest)}));
  runner->SetAdapter(0, run.adapter);
  RetrievalResult result;
  for (const Item& item : items) {
    ASSIGN_OR_RETURN(const bool right, Answers(*runner, item));
    for (RetrievalResult::Score* const score :
         {&result.all, &result.per_kind[item.kind], &result.per_bucket[item.bucket],
          &result.per_kind_and_bucket[{item.kind, item.bucket}]}) {
      score->correct += right ? 1 : 0;
      ++score->items;
    }
    progress(static_cast<double>(result.all.items) / static_cast<double>(items.size()),
             fmt::format("{} of {} right", result.all.correct, result.all.items));
  }
  return result;
}

}  // namespace causeway::model
