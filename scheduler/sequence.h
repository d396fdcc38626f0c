// One token stream of a request, and the request it belongs to.
#pragma once

#include <cstdint>
#include <variant>
#include <vector>

#include "memory/kv_cache.h"
#include "scheduler/plan.h"
#include "scheduler/request.h"

namespace causeway::scheduler {

using RequestKey = uint64_t;

// A waiting sequence cannot hold pages: it has no place for them.
struct Waiting {};

struct Running {
  memory::Span span;
  PlanSegment segment;     // the span as executors see it
  int64_t computed = 0;    // tokens whose KV is stored
  int64_t stalled = 0;     // steps in which its prefill got no tokens
};

// Owner: the scheduler.
struct Sequence {
  SequenceId id = 0;         // ascending by arrival
  RequestKey request = 0;
  int index = 0;             // which of the request's n
  std::vector<Token> tokens; // prompt, then output; capacity reserved for all of it
  std::vector<Token> end_ids;
  std::variant<Waiting, Running> state;
  int preemptions = 0;
  int64_t scored_until = -1; // last prompt position whose score went out
  bool cancelled = false;
  RequestTimes times;

  int64_t size() const { return static_cast<int64_t>(tokens.size()); }
};

struct Request {
  GenerateRequest params;
  int unfinished = 0;

  int64_t prompt_size() const { return static_cast<int64_t>(params.prompt.size()); }
};

}  // namespace causeway::scheduler
