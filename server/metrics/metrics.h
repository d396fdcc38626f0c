// Prometheus metrics under vLLM's names and labels, so that dashboards and autoscalers fit. Any thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "scheduler/engine.h"
#include "scheduler/request.h"

namespace causeway::server {

struct FinishedRequest {
  std::string_view reason;  // stop, length, abort, error
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

  // The exposition text; gauges and counters of the engine are taken from `stats`.
  std::string Text(const scheduler::EngineStats& stats);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace causeway::server
