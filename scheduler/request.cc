#include "scheduler/request.h"

#include <cmath>

#include "fmt/format.h"

namespace causeway::scheduler {
namespace {

constexpr size_t kMaxIdBytes = 128;
constexpr size_t kMaxSaltBytes = 256;

Error Bad(const char* param, std::string message) {
  return MakeError(ErrorCode::kInvalidArgument, std::move(message), param);
}

Result<void> CheckRange(const char* param, double value, double low, double high) {
  if (!(value >= low && value <= high)) {  // also refuses NaN
    return Bad(param, fmt::format("{} must be from {} to {}, not {}", param, low, high, value));
  }
  return {};
}

Result<void> CheckIds(const char* param, const std::vector<Token>& ids, int64_t vocab) {
  for (const Token id : ids) {
    if (id < 0 || id >= vocab) {
      return Bad(param, fmt::format("{}: token id {} is out of range; the vocabulary has {} ids", param, id, vocab));
    }
  }
  return {};
}

Result<void> ValidateSampling(const SamplingParams& sampling, const ModelLimits& limits) {
  TRY(CheckRange("temperature", sampling.temperature, 0, 100));
  TRY(CheckRange("top_p", sampling.top_p, 0, 1));
  TRY(CheckRange("min_p", sampling.min_p, 0, 1));
  TRY(CheckRange("presence_penalty", sampling.presence_penalty, -2, 2));
  TRY(CheckRange("frequency_penalty", sampling.frequency_penalty, -2, 2));
  TRY(CheckRange("repetition_penalty", sampling.repetition_penalty, 1e-3, 1e3));
  if (sampling.top_p == 0.0F) {
    return Bad("top_p", "top_p must be above 0");
  }
  if (sampling.top_k < -1) {
    return Bad("top_k", fmt::format("top_k must be at least 1, or 0 or -1 for all, not {}", sampling.top_k));
  }
  TRY(CheckRange("logprobs", sampling.logprobs, -1, limits.max_logprobs));
  TRY(CheckRange("prompt_logprobs", sampling.prompt_logprobs, -1, limits.max_logprobs));
  if (sampling.logit_bias.size() > kMaxLogitBias) {
    return Bad("logit_bias",
               fmt::format("logit_bias has {} entries; at most {}", sampling.logit_bias.size(), kMaxLogitBias));
  }
  for (const TokenBias& bias : sampling.logit_bias) {
    TRY(CheckIds("logit_bias", {bias.token}, limits.vocab));
    TRY(CheckRange("logit_bias", bias.bias, -100, 100));
  }
  return {};
}

}  // namespace

Result<void> ValidateRequest(const GenerateRequest& request, const ModelLimits& limits) {
  if (request.id.size() > kMaxIdBytes) {
    return Bad("request_id", fmt::format("a request id has at most {} bytes", kMaxIdBytes));
  }
  if (request.cache_salt.size() > kMaxSaltBytes) {
    return Bad("cache_salt", fmt::format("a cache salt has at most {} bytes", kMaxSaltBytes));
  }
  if (request.prompt.empty()) {
    return Bad("prompt", "the prompt is empty: at least one token is needed");
  }
  if (request.n < 1 || request.n > limits.max_n) {
    return Bad("n", fmt::format("n must be from 1 to {}, not {}", limits.max_n, request.n));
  }
  if (request.priority < Priority::kHigh || request.priority > Priority::kLow) {
    return Bad("priority", fmt::format("there is no priority {}", static_cast<int>(request.priority)));
  }
  const StopParams& stop = request.stop;
  if (stop.max_tokens < 0) {
    return Bad("max_tokens", fmt::format("max_tokens must not be negative, as {} is", stop.max_tokens));
  }
  if (stop.min_tokens < 0 || stop.min_tokens > stop.max_tokens) {
    return Bad("min_tokens",
               fmt::format("min_tokens must be from 0 to max_tokens ({}), not {}", stop.max_tokens, stop.min_tokens));
  }
  if (stop.stop_token_ids.size() > kMaxStopTokenIds) {
    return Bad("stop_token_ids", fmt::format("at most {} stop token ids", kMaxStopTokenIds));
  }
  TRY(CheckIds("prompt", request.prompt, limits.vocab));
  TRY(CheckIds("stop_token_ids", stop.stop_token_ids, limits.vocab));
  TRY(ValidateSampling(request.sampling, limits));
  const auto prompt = static_cast<int64_t>(request.prompt.size());
  if (stop.max_tokens > limits.max_model_len - prompt) {
    return MakeError(
        ErrorCode::kContextLength,
        fmt::format("this model's context is {} tokens; the request asks for {} ({} in the "
                    "prompt, {} of output)",
                    limits.max_model_len, static_cast<uint64_t>(prompt) + static_cast<uint64_t>(stop.max_tokens),
                    prompt, stop.max_tokens),
        "prompt");
  }
  return {};
}

}  // namespace causeway::scheduler
