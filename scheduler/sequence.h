// One token stream of a request, and the request it belongs to.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/keyed_hash.h"
#include "memory/kv_cache.h"
#include "scheduler/plan.h"
#include "scheduler/policy/policy.h"
#include "scheduler/request.h"

namespace causeway::scheduler {

using RequestKey = uint64_t;

// What the bytes of KV depend on beside tokens, and whom they are for.
struct KvScope {
  std::string_view cache_salt;
  memory::TenantId tenant = memory::kDefaultTenant;
  bool switched = false;  // longrope's other factors
  Digest adapter{};       // zeros: none
};
// The same as text: different scopes, different texts.
std::string PrefixScope(const memory::KvCache& kv, const KvScope& scope);

// Owner: the scheduler.
struct Request {
  RequestKey key = 0;
  GenerateRequest params;
  SequenceId first_id = 0;  // its n sequences have neighbouring ids
  int unfinished = 0;       // of them
  Digest prefix_root{};     // of the keys of its pages

  int64_t prompt_size() const { return static_cast<int64_t>(params.prompt.size()); }
  // Positions whose KV a sequence stores at most: the last token drawn is never computed.
  int64_t most_positions() const { return prompt_size() + std::max<int64_t>(0, params.stop.max_tokens - 1); }
};

// A waiting sequence holds no pages, but for a claim on those that come back for it from a tier.
struct Waiting {
  std::optional<memory::Restoring> restoring;
  bool asked = false;  // the tier, since it began to wait
};

struct Running {
  memory::Span span;
  memory::SpanSegments segments;  // of the span, as executors see it
  int64_t computed = 0;           // tokens whose KV is stored
  int64_t planned = 0;            // tokens of the step being planned
  int64_t stalled = 0;            // steps since it last had a share
};

// Owner: the scheduler.
struct Sequence {
  SequenceId id = 0;  // ascending by arrival
  Request* request = nullptr;
  int index = 0;  // which of the request's n
  Precedence precedence;
  std::vector<Token> tokens;  // prompt, then output; capacity for all of it once started
  std::vector<Token> end_ids;
  std::vector<Digest> prefix_keys;  // of its first full pages
  int64_t cached_tokens = 0;        // prompt tokens that it found when it started
  std::variant<Waiting, Running> state;
  int preemptions = 0;
  int64_t scored_until = -1;  // last prompt position whose score went out
  bool cancelled = false;
  RequestTimes times;

  int64_t size() const { return static_cast<int64_t>(tokens.size()); }
  int64_t output_size() const { return size() - request->prompt_size(); }
  bool started() const { return times.scheduled != kNever; }
};

inline Waiting& WaitingOf(Sequence& sequence) { return std::get<Waiting>(sequence.state); }
inline Running& RunningOf(Sequence& sequence) { return std::get<Running>(sequence.state); }
inline const Running& RunningOf(const Sequence& sequence) { return std::get<Running>(sequence.state); }
inline bool IsRunning(const Sequence& sequence) { return std::holds_alternative<Running>(sequence.state); }

// Decoding: all but the newest token is computed, and that one was drawn or ends the prompt.
inline bool IsDecoding(const Sequence& sequence) { return sequence.size() - RunningOf(sequence).computed == 1; }

inline bool WantsPromptScores(const Sequence& sequence) {
  return sequence.request->params.sampling.prompt_logprobs >= 0 && sequence.index == 0 &&
         sequence.scored_until + 1 < sequence.request->prompt_size();
}

}  // namespace causeway::scheduler
