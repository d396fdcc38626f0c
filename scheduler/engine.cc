#include "scheduler/engine.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <thread>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "fmt/format.h"
#include "memory/kv_cache.h"
#include "scheduler/channel.h"
#include "scheduler/scheduler.h"

namespace causeway::scheduler {

struct Engine::Impl {
  Impl(const EngineOptions& opts, memory::KvCache& cache, Executor& exec, StepObserver obs)
      : options(opts),
        kv(cache),
        executor(exec),
        observer(std::move(obs)),
        inbox(std::make_shared<Inbox>()),
        scheduler({.max_num_seqs = opts.max_num_seqs,
                   .max_num_batched_tokens = opts.max_num_batched_tokens,
                   .max_prefill_stall_steps = opts.max_prefill_stall_steps,
                   .max_model_len = opts.limits.max_model_len},
                  cache) {
    thread = std::thread([this] { Loop(); });
  }

  // ---- Any thread ----------------------------------------------------------------------------------

  Result<Ticket> Submit(GenerateRequest request, Waker& waker) {
    TRY(ValidateRequest(request, options.limits));
    const auto tokens = static_cast<int64_t>(request.prompt.size());
    const int64_t most = tokens + request.stop.max_tokens;
    if (kv.geometry().PagesFor(most) > kv.options().max_pages) {
      return MakeError(ErrorCode::kInvalidArgument,
                       fmt::format("the request may need {} tokens of KV cache, which holds {}", most,
                                   kv.options().max_pages * kv.geometry().tokens_per_page),
                       "max_tokens");
    }
    std::shared_ptr<RequestChannel> channel;
    {
      const std::lock_guard lock(inbox->mutex);
      if (inbox->draining || inbox->stopping) {
        return MakeError(ErrorCode::kUnavailable, "the server is shutting down");
      }
      if (inbox->waiting_requests + request.n > options.max_queued_requests ||
          inbox->waiting_tokens + tokens * request.n > options.max_queued_tokens) {
        return MakeError(ErrorCode::kResourceExhausted,
                         fmt::format("the queue is full: {} sequences with {} prompt tokens wait",
                                     inbox->waiting_requests, inbox->waiting_tokens));
      }
      inbox->waiting_requests += request.n;
      inbox->waiting_tokens += tokens * request.n;
      const RequestKey key = next_key++;
      channel = std::make_shared<RequestChannel>(key, inbox, waker);
      inbox->submissions.push_back({key, std::move(request), channel});
    }
    inbox->wake.notify_one();
    return Ticket(std::move(channel));
  }

  void Drain(Instant deadline) {
    {
      const std::lock_guard lock(inbox->mutex);
      inbox->draining = true;
    }
    inbox->wake.notify_one();
    std::unique_lock lock(inbox->mutex);
    drained.wait_until(lock, deadline, [this] { return idle && inbox->submissions.empty(); });
  }

  void Stop() {
    {
      const std::lock_guard lock(inbox->mutex);
      inbox->stopping = true;
    }
    inbox->wake.notify_one();
    if (thread.joinable()) {
      thread.join();
    }
  }

  // ---- Engine thread -------------------------------------------------------------------------------

  void Loop() {
    while (TakeInbox()) {
      Step();
    }
    scheduler.FailAll(MakeError(ErrorCode::kUnavailable, "the server is shutting down"), Clock::now());
    Deliver();
  }

  // Waits for something to do. False when stopping.
  bool TakeInbox() {
    std::vector<Submission> submissions;
    std::vector<Cancellation> cancellations;
    {
      std::unique_lock lock(inbox->mutex);
      const auto ready = [this] {
        return inbox->stopping || !inbox->submissions.empty() || !inbox->cancellations.empty() ||
               !scheduler.idle();
      };
      idle = scheduler.idle() && inbox->submissions.empty();
      if (idle) {
        drained.notify_all();
      }
      inbox->wake.wait(lock, ready);
      idle = false;
      if (inbox->stopping) {
        submissions.swap(inbox->submissions);
      } else {
        submissions.swap(inbox->submissions);
        cancellations.swap(inbox->cancellations);
      }
    }
    for (Submission& submission : submissions) {
      Accept(std::move(submission));
    }
    for (const Cancellation& cancellation : cancellations) {
      scheduler.Cancel(cancellation.key, cancellation.index);
    }
    const std::lock_guard lock(inbox->mutex);
    return !inbox->stopping;
  }

  void Accept(Submission submission) {
    const RequestKey key = submission.key;
    channels.emplace(key, submission.channel);
    const int n = submission.request.n;
    if (const auto added = scheduler.Add(key, std::move(submission.request), Clock::now()); !added.ok()) {
      std::vector<OutputEvent> events;
      for (int index = 0; index < n; ++index) {
        OutputEvent event;
        event.kind = OutputEvent::Kind::kFinish;
        event.index = index;
        event.finish = FinishReason::kError;
        event.error = added.error();
        events.push_back(std::move(event));
      }
      submission.channel->Write(events);
      channels.erase(key);
    }
  }

  void Step() {
    const Instant start = Clock::now();
    const Plan& plan = scheduler.Next(start);
    if (!plan.empty()) {
      RunPlan(plan, start);
    }
    Deliver();
    Publish();
    if (plan.empty() && !scheduler.idle()) {
      WaitForPagesOrDeadline();
    }
  }

  void RunPlan(const Plan& plan, Instant start) {
    StepStats step;
    for (const PlanRow& row : plan.rows) {
      const bool prefill = row.first_position < static_cast<int64_t>(row.prompt.size());
      (prefill ? step.prefill_tokens : step.decode_tokens) += static_cast<int64_t>(row.tokens.size());
    }
    executor.Launch(plan);
    const auto result = executor.Await();
    const Instant end = Clock::now();
    step.duration = end - start;
    if (result.ok()) {
      scheduler.Apply(*result, end);
    } else {
      LOG_ERROR("a step failed: {}", result.error().message);
      scheduler.ApplyFailure(result.error(), end);
    }
    Measure(step);
  }

  void Measure(const StepStats& step) {
    prompt_tokens += static_cast<uint64_t>(step.prefill_tokens);
    ++steps;
    if (step.prefill_tokens > 0) {
      const double rate = static_cast<double>(step.prefill_tokens) / ToSeconds(step.duration);
      const double old = prefill_rate.load(std::memory_order_relaxed);
      prefill_rate.store(old == 0 ? rate : 0.8 * old + 0.2 * rate, std::memory_order_relaxed);
    }
    if (observer) {
      observer(step);
    }
  }

  // Events to their channels, one wake a request.
  void Deliver() {
    events.clear();
    scheduler.TakeEvents(events);
    std::map<RequestKey, std::vector<OutputEvent>> by_request;
    std::vector<RequestKey> ended;
    for (SchedulerEvent& event : events) {
      if (event.output.kind == OutputEvent::Kind::kToken) {
        ++generation_tokens;
      }
      if (event.last) {
        ended.push_back(event.request);
      }
      by_request[event.request].push_back(std::move(event.output));
    }
    for (auto& [key, outputs] : by_request) {
      channels.at(key)->Write(outputs);
    }
    for (const RequestKey key : ended) {
      channels.erase(key);
    }
  }

  void Publish() {
    running.store(scheduler.running(), std::memory_order_relaxed);
    waiting.store(scheduler.waiting(), std::memory_order_relaxed);
    preemptions.store(scheduler.preemptions(), std::memory_order_relaxed);
    const int64_t tokens = scheduler.waiting_tokens();
    backlog.store(tokens, std::memory_order_relaxed);
    const std::lock_guard lock(inbox->mutex);
    inbox->waiting_requests = scheduler.waiting();
    inbox->waiting_tokens = tokens;
    for (const Submission& submission : inbox->submissions) {
      inbox->waiting_requests += submission.request.n;
      inbox->waiting_tokens += static_cast<int64_t>(submission.request.prompt.size()) * submission.request.n;
    }
  }

  // Sequences wait and nothing can run (all deadlines or the machine's memory): look again soon.
  void WaitForPagesOrDeadline() {
    std::unique_lock lock(inbox->mutex);
    const Instant latest = Clock::now() + std::chrono::milliseconds(50);
    inbox->wake.wait_until(lock, std::min(latest, scheduler.NextDeadline()), [this] {
      return inbox->stopping || !inbox->submissions.empty() || !inbox->cancellations.empty();
    });
  }

  // Constant after construction.
  const EngineOptions options;
  memory::KvCache& kv;
  Executor& executor;
  const StepObserver observer;
  const std::shared_ptr<Inbox> inbox;

  // Guarded by inbox->mutex.
  RequestKey next_key = 1;
  bool idle = true;
  std::condition_variable drained;

  // Owned by the engine thread.
  Scheduler scheduler;
  std::map<RequestKey, std::shared_ptr<RequestChannel>> channels;
  std::vector<SchedulerEvent> events;

  // Written by the engine thread, read by any.
  std::atomic<int64_t> running{0};
  std::atomic<int64_t> waiting{0};
  std::atomic<int64_t> backlog{0};
  std::atomic<uint64_t> prompt_tokens{0};
  std::atomic<uint64_t> generation_tokens{0};
  std::atomic<uint64_t> preemptions{0};
  std::atomic<uint64_t> steps{0};
  std::atomic<double> prefill_rate{0.0};

  std::thread thread;  // last: it uses all of the above
};

Engine::Engine(const EngineOptions& options, memory::KvCache& kv, Executor& executor, StepObserver observer)
    : impl_(std::make_unique<Impl>(options, kv, executor, std::move(observer))) {}
Engine::~Engine() { Stop(); }

Result<Ticket> Engine::Submit(GenerateRequest request, Waker& waker) {
  return impl_->Submit(std::move(request), waker);
}

EngineStats Engine::Stats() const {
  EngineStats stats;
  stats.running = impl_->running;
  {
    const std::lock_guard lock(impl_->inbox->mutex);
    stats.waiting = impl_->inbox->waiting_requests;
  }
  stats.kv_usage = impl_->kv.Stats().usage();
  stats.prompt_tokens = impl_->prompt_tokens;
  stats.generation_tokens = impl_->generation_tokens;
  stats.preemptions = impl_->preemptions;
  stats.steps = impl_->steps;
  stats.backlog_tokens = static_cast<double>(impl_->backlog);
  stats.prefill_rate = impl_->prefill_rate;
  return stats;
}

void Engine::Drain(Instant deadline) { impl_->Drain(deadline); }
void Engine::Stop() { impl_->Stop(); }

}  // namespace causeway::scheduler
