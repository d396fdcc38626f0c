#include "server/metrics/metrics.h"

#include <mutex>

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include "server/metrics/kv_metrics.h"
#include "server/metrics/process_figures.h"
#include "server/metrics/raise_to.h"

namespace causeway::server {
namespace {

using Buckets = prometheus::Histogram::BucketBoundaries;

const Buckets& TtftBuckets() {
  static const Buckets buckets = {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
                                  1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
  return buckets;
}
const Buckets& TpotBuckets() {
  static const Buckets buckets = {.01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80};
  return buckets;
}
const Buckets& RequestBuckets() {
  static const Buckets buckets = {.3, .5, .8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                  30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
  return buckets;
}
Buckets OneTwoFive(double highest) {
  Buckets buckets;
  for (double decade = 1; decade <= highest; decade *= 10) {
    for (const double step : {1.0, 2.0, 5.0}) {
      buckets.push_back(decade * step);
    }
  }
  return buckets;
}
const Buckets& IterationBuckets() {
  static const Buckets buckets = {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};
  return buckets;
}

double Seconds(Instant from, Instant to) { return to > from ? ToSeconds(to - from) : 0.0; }

}  // namespace

struct Metrics::Impl {
  explicit Impl(const std::string& model_name) : labels{{"model_name", model_name}, {"engine", "0"}} {}

  prometheus::Gauge& Gauge(const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add(labels);
  }
  prometheus::Gauge& Process(const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({});
  }
  prometheus::Counter& Counter(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add(labels);
  }
  prometheus::Histogram& Histogram(const char* name, const char* help, const Buckets& buckets) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add(labels, buckets);
  }
  prometheus::Counter& Success(std::string_view reason) {
    auto with_reason = labels;
    with_reason["finished_reason"] = std::string(reason);
    return success.Add(with_reason);
  }
  void SetProcess() {
    const ProcessFigures figures = ReadProcessFigures();
    resident.Set(figures.resident_bytes);
    open_fds.Set(figures.open_fds);
    const double more = figures.cpu_seconds - cpu_seconds.Value();
    if (more > 0) {
      cpu_seconds.Increment(more);
    }
  }

  prometheus::Registry registry;
  const prometheus::Labels labels;
  std::mutex scrape;  // RaiseTo reads and writes
  KvMetrics kv{registry, labels};
  prometheus::Gauge& running = Gauge("vllm:num_requests_running", "Sequences that are running");
  prometheus::Gauge& waiting = Gauge("vllm:num_requests_waiting", "Sequences that wait to run");
  prometheus::Gauge& kv_usage = Gauge("vllm:kv_cache_usage_perc", "KV cache pages in use, 1 is all");
  prometheus::Counter& prompt_tokens = Counter("vllm:prompt_tokens_total", "Prompt tokens computed");
  prometheus::Counter& generation_tokens = Counter("vllm:generation_tokens_total", "Tokens generated");
  prometheus::Counter& preemptions = Counter("vllm:num_preemptions_total", "Sequences preempted");
  prometheus::Counter& prefix_queries =
      Counter("vllm:prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache");
  prometheus::Counter& prefix_hits = Counter("vllm:prefix_cache_hits_total", "Prompt tokens found in the prefix cache");
  prometheus::Counter& steps = Counter("causeway:steps_total", "Steps of the model");
  prometheus::Gauge& resident = Process("process_resident_memory_bytes", "Memory in use");
  prometheus::Gauge& open_fds = Process("process_open_fds", "Open files and sockets");
  prometheus::Gauge& start_time = Process("process_start_time_seconds", "When the server started, unix time");
  prometheus::Counter& cpu_seconds = prometheus::BuildCounter()
                                         .Name("process_cpu_seconds_total")
                                         .Help("Processor time used")
                                         .Register(registry)
                                         .Add({});
  prometheus::Family<prometheus::Gauge>& cache_config =
      prometheus::BuildGauge().Name("vllm:cache_config_info").Help("Shape of the KV cache").Register(registry);
  prometheus::Family<prometheus::Counter>& success = prometheus::BuildCounter()
                                                         .Name("vllm:request_success_total")
                                                         .Help("Requests by how they ended")
                                                         .Register(registry);
  prometheus::Family<prometheus::Counter>& rejected = prometheus::BuildCounter()
                                                          .Name("causeway:requests_rejected_total")
                                                          .Help("Requests refused, by reason")
                                                          .Register(registry);
  prometheus::Family<prometheus::Counter>& http =
      prometheus::BuildCounter().Name("http_requests_total").Help("HTTP requests").Register(registry);
  prometheus::Family<prometheus::Histogram>& http_seconds = prometheus::BuildHistogram()
                                                                .Name("http_request_duration_seconds")
                                                                .Help("Time to the last byte")
                                                                .Register(registry);
  prometheus::Histogram& iteration_tokens =
      Histogram("vllm:iteration_tokens_total", "Tokens of a step", IterationBuckets());
  prometheus::Histogram& ttft =
      Histogram("vllm:time_to_first_token_seconds", "From arrival to the first token", TtftBuckets());
  prometheus::Histogram& itl =
      Histogram("vllm:inter_token_latency_seconds", "Between tokens of a sequence", TpotBuckets());
  prometheus::Histogram& tpot =
      Histogram("vllm:request_time_per_output_token_seconds", "Mean time per token after the first", TpotBuckets());
  prometheus::Histogram& e2e =
      Histogram("vllm:e2e_request_latency_seconds", "From arrival to the end", RequestBuckets());
  prometheus::Histogram& queue =
      Histogram("vllm:request_queue_time_seconds", "From arrival to the first step", RequestBuckets());
  prometheus::Histogram& prefill =
      Histogram("vllm:request_prefill_time_seconds", "From the first step to the first token", RequestBuckets());
  prometheus::Histogram& decode =
      Histogram("vllm:request_decode_time_seconds", "From the first token to the end", RequestBuckets());
  prometheus::Histogram& inference =
      Histogram("vllm:request_inference_time_seconds", "From the first step to the end", RequestBuckets());
  prometheus::Histogram& request_prompt =
      Histogram("vllm:request_prompt_tokens", "Prompt tokens of a request", OneTwoFive(100000));
  prometheus::Histogram& request_generation =
      Histogram("vllm:request_generation_tokens", "Tokens generated for a request", OneTwoFive(100000));
  prometheus::Histogram& request_max =
      Histogram("vllm:request_params_max_tokens", "max_tokens of a request", OneTwoFive(100000));
  prometheus::Histogram& request_max_generation =
      Histogram("vllm:request_max_num_generation_tokens", "Tokens generated for a sequence", OneTwoFive(100000));
  prometheus::Histogram& request_n = Histogram("vllm:request_params_n", "n of a request", {1, 2, 5, 10, 20});
};

Metrics::Metrics(const std::string& model_name) : impl_(std::make_unique<Impl>(model_name)) {
  for (const char* const reason : {"stop", "length", "abort", "error"}) {
    impl_->Success(reason);  // a series that begins at 0 is one that rates can be taken of
  }
  impl_->start_time.Set(ReadProcessFigures().start_unix_seconds);
}
Metrics::~Metrics() = default;

void Metrics::ObserveStep(const scheduler::StepStats& step) {
  impl_->iteration_tokens.Observe(static_cast<double>(step.prefill_tokens + step.decode_tokens));
}

void Metrics::ObserveFinished(const FinishedRequest& request) {
  impl_->Success(request.reason).Increment();
  const scheduler::RequestTimes& times = request.times;
  impl_->e2e.Observe(Seconds(times.arrival, times.finished));
  impl_->request_generation.Observe(static_cast<double>(request.generation_tokens));
  impl_->request_max_generation.Observe(static_cast<double>(request.generation_tokens));
  if (request.first_of_request) {
    impl_->request_prompt.Observe(static_cast<double>(request.prompt_tokens));
    impl_->request_max.Observe(static_cast<double>(request.max_tokens));
    impl_->request_n.Observe(static_cast<double>(request.n));
  }
  if (times.scheduled == kNever) {
    return;
  }
  impl_->queue.Observe(Seconds(times.arrival, times.scheduled));
  impl_->inference.Observe(Seconds(times.scheduled, times.finished));
  if (times.first_token != kNever) {
    const double decode = Seconds(times.first_token, times.finished);
    impl_->prefill.Observe(Seconds(times.scheduled, times.first_token));
    impl_->decode.Observe(decode);
    if (request.generation_tokens > 1) {
      impl_->tpot.Observe(decode / static_cast<double>(request.generation_tokens - 1));
    }
  }
}

void Metrics::ObserveTimeToFirstToken(double seconds) { impl_->ttft.Observe(seconds); }
void Metrics::ObserveInterTokenLatency(double seconds) { impl_->itl.Observe(seconds); }

void Metrics::SetCacheConfig(int64_t tokens_per_page, int64_t pages) {
  auto labels = impl_->labels;
  labels["block_size"] = std::to_string(tokens_per_page);
  labels["num_gpu_blocks"] = std::to_string(pages);
  impl_->cache_config.Add(labels).Set(1);
}

void Metrics::CountRejected(std::string_view reason) {
  auto labels = impl_->labels;
  labels["reason"] = std::string(reason);
  impl_->rejected.Add(labels).Increment();
}

void Metrics::CountHttp(std::string_view handler, std::string_view method, int status, double seconds) {
  const prometheus::Labels labels = {{"handler", std::string(handler)}, {"method", std::string(method)}};
  auto with_status = labels;
  with_status["status"] = std::to_string(status);
  impl_->http.Add(with_status).Increment();
  impl_->http_seconds.Add(labels, TtftBuckets()).Observe(seconds);
}

std::string Metrics::Text(const MemoryFigures& figures) {
  const scheduler::EngineStats& stats = figures.engine;
  {
    const std::lock_guard lock(impl_->scrape);
    impl_->running.Set(static_cast<double>(stats.running));
    impl_->waiting.Set(static_cast<double>(stats.waiting));
    impl_->kv_usage.Set(stats.kv_usage);
    RaiseTo(impl_->prompt_tokens, stats.prompt_tokens);
    RaiseTo(impl_->generation_tokens, stats.generation_tokens);
    RaiseTo(impl_->preemptions, stats.preemptions);
    RaiseTo(impl_->prefix_queries, stats.prefix_query_tokens);
    RaiseTo(impl_->prefix_hits, stats.prefix_hit_tokens);
    RaiseTo(impl_->steps, stats.steps);
    impl_->kv.Set(figures);
    impl_->SetProcess();
  }
  return prometheus::TextSerializer().Serialize(impl_->registry.Collect());
}

}  // namespace causeway::server
