// What a front end asks of the engine, and what comes back. Native types only: JSON and proto end in
// server/.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/token.h"
#include "memory/tenant.h"

namespace causeway::scheduler {

class Adapter;       // scheduler/adapter.h
class PinnedPrefix;  // scheduler/pinned.h

struct TokenBias {
  Token token;
  float bias;
};

// Front ends refuse longer lists before they copy them.
inline constexpr size_t kMaxLogitBias = 1024;
inline constexpr size_t kMaxStopTokenIds = 128;

// Names, ranges and defaults as in vLLM and OpenAI. Validate() checks them all.
struct SamplingParams {
  float temperature = 1.0F;         // 0: greedy; else (0, 100]
  int top_k = 0;                    // 0 or -1: off
  float top_p = 1.0F;               // (0, 1]
  float min_p = 0.0F;               // [0, 1]
  float repetition_penalty = 1.0F;  // > 0
  float presence_penalty = 0.0F;    // [-2, 2]
  float frequency_penalty = 0.0F;   // [-2, 2]
  std::vector<TokenBias> logit_bias;
  uint64_t seed = 0;         // the front end draws one where the client gave none
  int logprobs = -1;         // alternatives per output token; -1: none
  int prompt_logprobs = -1;  // alternatives per prompt token; -1: none
};

struct StopParams {
  int64_t max_tokens = 16;            // >= 0; 0: prompt logprobs only
  int64_t min_tokens = 0;             // end tokens are banned before this many
  bool ignore_eos = false;            // end-of-text ids do not end the sequence
  std::vector<Token> eos_ids;         // the model's own end tokens
  std::vector<Token> stop_token_ids;  // the client's
};

enum class Priority : int8_t { kHigh = 0, kNormal = 1, kLow = 2 };

struct GenerateRequest {
  std::string id;             // for logs; at most 128 bytes
  std::vector<Token> prompt;  // at least one token
  SamplingParams sampling;
  StopParams stop;
  int n = 1;               // sequences
  std::string cache_salt;  // prefixes are shared among requests of one salt only; at most 256 bytes
  memory::TenantId tenant = memory::kDefaultTenant;  // whom its pages are charged to, and shared with
  std::shared_ptr<const Adapter> adapter;            // null: the model as it is
  bool pin = false;                                  // keep the KV of sequence 0 when it ends well: OutputEvent::pinned
  Priority priority = Priority::kNormal;
  Instant arrival;                  // when the front end received it
  Instant queue_deadline = kNever;  // must have started by then
  Instant run_deadline = kNever;    // must have ended by then
};

struct ModelLimits {
  int64_t vocab = 0;
  int64_t max_model_len = 0;  // prompt + output tokens
  int max_n = 128;
  int max_logprobs = 20;
};

// Every check that does not need the engine: ranges, token ids, context length (kContextLength, with both
// numbers in the message). `param` names the field.
Result<void> ValidateRequest(const GenerateRequest& request, const ModelLimits& limits);

struct TokenLogprob {
  Token token;
  float logprob;
};

enum class FinishReason : uint8_t {
  kStop,       // an end token or a stop token id
  kLength,     // max_tokens or the context is full
  kCancelled,  // the ticket was destroyed or the sequence cancelled
  kError,      // `error` says why: deadline, drain, a failed step
};

struct RequestTimes {
  Instant arrival;
  Instant scheduled;    // first time in a plan
  Instant first_token;  // kNever if none
  Instant finished;
};

// Why prompt tokens were computed although the prefix index was asked.
enum class PrefixLoss : uint8_t {
  kNever,    // their page was not known, as far as we remember
  kEvicted,  // it was, and had to go
  kPartial,  // they fill no page, or are the last token, which always runs
  kScored,   // the client wants the prompt's log probabilities
};
inline constexpr size_t kPrefixLosses = 4;

// One thing that happened to one sequence of a request. Each sequence gets its tokens in order and then
// exactly one finish; prompt log probabilities come before the first token of sequence 0.
struct OutputEvent {
  enum class Kind : uint8_t { kPromptToken, kToken, kFinish };
  Kind kind = Kind::kToken;
  int index = 0;  // which of the n sequences
  Token token = 0;
  bool has_logprob = false;
  float logprob = 0.0F;
  std::vector<TokenLogprob> top;  // alternatives, best first
  // kFinish only:
  FinishReason finish = FinishReason::kStop;
  Token stop_token = -1;  // the end token or stop id that ended it; -1 if none. It was a kToken too.
  Error error;            // kError only
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;  // prompt tokens whose KV was there when it started; in kToken too
  int64_t output_tokens = 0;
  int preemptions = 0;
  std::shared_ptr<const PinnedPrefix> pinned;  // what `pin` asked for, of sequence 0; null: `pin_error` says why
  Error pin_error;
  RequestTimes times;  // kToken too, but for `finished`
};

}  // namespace causeway::scheduler
