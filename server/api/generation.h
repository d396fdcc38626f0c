// One prompt being answered: the function behind /v1/completions, /v1/chat/completions, gRPC Generate and
// `causeway generate`. Front ends are thin spellings of it.
//
// Start() hands the call to a text worker (chat template, tokenizer, validation) and then to the engine.
// From then on the front end is woken when there is something to Poll(); Poll detokenizes incrementally,
// holds back partial UTF-8 and possible stop strings, and never waits. It also counts what becomes of each sequence.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/json.h"
#include "base/result.h"
#include "base/token.h"
#include "scheduler/engine.h"
#include "scheduler/request.h"

namespace causeway::server {

struct App;            // server/api/app.h
struct LoadedAdapter;  // server/api/adapters.h

// Everything a client may leave out is optional; ResolveSampling fills it from the server's flags, the
// model's generation config, then the built-in default.
struct SamplingFields {
  std::optional<double> temperature;
  std::optional<int64_t> top_k;
  std::optional<double> top_p;
  std::optional<double> min_p;
  std::optional<double> repetition_penalty;
  std::optional<double> presence_penalty;
  std::optional<double> frequency_penalty;
  std::optional<int64_t> seed;
  std::vector<std::pair<int64_t, double>> logit_bias;
  std::optional<int64_t> max_tokens;  // unset: the context that remains (chat), 16 (completions)
  std::optional<int64_t> min_tokens;
  std::optional<int64_t> n;
  std::optional<int64_t> logprobs;         // alternatives per output token; 0: the token's own only
  std::optional<int64_t> prompt_logprobs;  // the same for prompt tokens
  std::vector<std::string> stop;           // at most 16, each at most 1 KiB
  std::vector<int64_t> stop_token_ids;
  bool ignore_eos = false;
  bool include_stop_str_in_output = false;
  bool skip_special_tokens = true;
};

struct ChatPrompt {
  OrderedJson messages;         // validated shape: array of objects with a string role
  OrderedJson tools;            // null if none
  OrderedJson template_kwargs;  // object or null
  bool add_generation_prompt = true;
  bool continue_final_message = false;
};

// What a client sees of a named state (server/api/states.h).
struct StateInfo {
  std::string name;
  int64_t tokens = 0;
  int64_t pages = 0;    // of KV that it keeps; forks and states with the same beginning share them
  std::string adapter;  // that it was computed with; empty: none
  int64_t created_unix = 0;
  std::optional<int64_t> expires_unix;
  uint64_t uses = 0;
};

// Keeps the prompt and what was answered as a state.
struct SaveTarget {
  std::string name;
  std::optional<Duration> ttl;  // none: no end
  bool overwrite = false;
  bool extends = false;  // it is `GenerateCall::state`, which must not change meanwhile; without `ttl` its end stays
};

struct GenerateCall {
  std::string request_id;
  std::variant<std::string, std::vector<int64_t>, ChatPrompt> prompt;
  SamplingFields sampling;
  bool add_special_tokens = true;  // text prompts
  bool echo = false;               // completions: the prompt's text comes first
  scheduler::Priority priority = scheduler::Priority::kNormal;
  std::string cache_salt;  // scheduler::GenerateRequest
  memory::TenantId tenant = memory::kDefaultTenant;
  std::shared_ptr<const LoadedAdapter> adapter;  // null: the model as it is
  std::string state;                             // the prompt goes on behind this one; empty: none
  std::optional<SaveTarget> save;                // with n = 1 only
  Instant arrival;
  Instant deadline = kNever;  // the client's own (of a gRPC call)
};

// One token with its text, for logprobs. `bytes` may be part of a character.
struct TokenInfo {
  Token token = 0;
  std::string bytes;
  bool has_logprob = false;
  float logprob = 0.0F;
  bool in_text = true;  // false: a special token that the text leaves out
  struct Alternative {
    Token token;
    std::string bytes;
    float logprob;
  };
  std::vector<Alternative> top;
};

struct Usage {
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;  // over all sequences
  int64_t cached_tokens = 0;
};

enum class FinishKind : uint8_t { kStop, kLength };

// What Poll hands out, in order.
struct GenerationEvent {
  enum class Kind : uint8_t {
    kStarted,       // prompt accepted: `usage.prompt_tokens`; `prompt` and `text` (echo) if they were asked for
    kDelta,         // `text`, `tokens` of sequence `index` (text may be empty when held back)
    kSequenceDone,  // sequence `index` ended: `finish`, `stop_reason`
    kDone,          // all sequences ended: `usage`. Terminal.
    kFailed,        // `error`. Terminal; nothing follows.
  };
  Kind kind = Kind::kDelta;
  int index = 0;
  std::string text;
  std::vector<TokenInfo> tokens;  // the tokens whose text this delta completes; filled always
  std::vector<TokenInfo> prompt;  // kStarted: prompt tokens with log probabilities (echo, prompt_logprobs)
  FinishKind finish = FinishKind::kStop;
  // vLLM's stop_reason: the stop string, or the stop token id; monostate for end-of-text and length.
  std::variant<std::monostate, std::string, Token> stop_reason;
  Usage usage;
  std::optional<Result<StateInfo>> saved;  // kDone: what became of `save`
  Error error;
};

// Used by one thread at a time; the waker is called from others. Destroying it cancels the work.
class Generation {
 public:
  // `waker` must outlive the generation. Never fails at once: a bad call is a kFailed event.
  static std::unique_ptr<Generation> Start(App& app, GenerateCall call, scheduler::Waker& waker);
  ~Generation();

  // Appends what has happened since the last call.
  void Poll(std::vector<GenerationEvent>& events);

 private:
  struct State;
  explicit Generation(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

}  // namespace causeway::server
