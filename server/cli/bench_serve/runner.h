// Drives one run: starts conversations when they arrive and a slot is free, times every request.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "server/cli/bench_serve/arrivals.h"
#include "server/cli/bench_serve/http_client.h"
#include "server/cli/bench_serve/stats.h"
#include "server/cli/bench_serve/workload.h"

namespace causeway::server::bench {

struct RunOptions {
  Target target;
  std::string model;
  bool chat = false;  // /v1/chat/completions instead of /v1/completions
  double temperature = 0;
  bool ignore_eos = true;  // outputs have exactly the length asked for
  Json extra_body;         // object merged over each request; null if none
  ArrivalKind arrivals = ArrivalKind::kPoisson;
  double request_rate = std::numeric_limits<double>::infinity();  // conversations/s
  int64_t concurrency = 0;                                        // conversations at once; 0: no limit
  int64_t num_prompts = 100;                                      // conversations
  double duration_s = 0;                                          // start none after so long; 0: no limit
  std::chrono::seconds timeout{600};                              // of one request
  uint64_t seed = 0;
  uint64_t first_conversation = 0;  // of the workload: a server that caches must not know a run's prompts from another
};

struct Progress {
  size_t planned = 0;  // requests, if all are answered
  size_t finished = 0;
  size_t failed = 0;
  size_t in_flight = 0;
  int64_t chunks = 0;  // chunks with text, nearly tokens
  double seconds = 0;
  bool last = false;
};

// Runs to the end, to the time limit or to SIGINT (then what was answered is reported) and returns
// one record for each request sent. `on_progress` is called about four times a second and once at
// the end.
Result<std::vector<RequestRecord>> Run(const RunOptions& options, const Workload& workload,
                                       const std::function<void(const Progress&)>& on_progress);

}  // namespace causeway::server::bench
