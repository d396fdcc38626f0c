// Prometheus metrics under vLLM's names and labels, so that dashboards and autoscalers fit. Any thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "scheduler/engine.h"
#include "scheduler/request.h"
#include "server/metrics/memory_figures.h"

namespace causeway::server {

// One sequence that ended; times that never came are kNever.
struct FinishedRequest {
  std::string_view reason;       // stop, length, abort, error
  bool first_of_request = true;  // of the n sequences
  int64_t prompt_tokens = 0;
  int64_t generation_tokens = 0;
  int64_t max_tokens = 0;
  int64_t n = 1;
  scheduler::RequestTimes times;
};

class Metrics {
 public:
  explicit Metrics(const std::string& model_name);
  ~Metrics();

  void ObserveStep(const scheduler::StepStats& step);
  void ObserveFinished(const FinishedRequest& request);
  void ObserveTimeToFirstToken(double seconds);
  void ObserveInterTokenLatency(double seconds);
  void CountRejected(std::string_view reason);
  void CountHttp(std::string_view handler, std::string_view method, int status, double seconds);

  // Autoscalers and routers read the pool's shape: vLLM's block is our page.
  void SetCacheConfig(int64_t tokens_per_page, int64_t pages);

  // The exposition text; gauges and counters of engine and memory are taken from `figures`.
  std::string Text(const MemoryFigures& figures);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace causeway::server
