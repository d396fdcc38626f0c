#include "scheduler/engine.h"

#include <algorithm>
#include <atomic>
#include <future>
#include <thread>
#include <unordered_map>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "fmt/format.h"
#include "memory/kv_cache.h"
#include "scheduler/channel.h"
#include "scheduler/pinned.h"
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
                   .max_model_len = opts.limits.max_model_len,
                   .prefix_caching = opts.prefix_caching,
                   .kv_switch_length = opts.kv_switch_length},
                  cache) {
    kv.SetWake([inbox = inbox] {
      {
        const std::lock_guard lock(inbox->mutex);
        inbox->memory_news = true;
      }
      inbox->wake.notify_one();
    });
    thread = std::thread([this] { Loop(); });
  }

  // ---- Any thread ----------------------------------------------------------------------------------

  Result<Ticket> Submit(GenerateRequest request, Waker& waker) {
    TRY(ValidateRequest(request, options.limits));
    TRY(CheckFits(request, kv));
    TRY(CheckFitsQueue(request));
    const int64_t tokens = static_cast<int64_t>(request.prompt.size()) * request.n;
    std::shared_ptr<RequestChannel> channel;
    {
      const std::lock_guard lock(inbox->mutex);
      if (inbox->draining || inbox->stopping) {
        return MakeError(ErrorCode::kUnavailable, "the server is shutting down");
      }
      if (inbox->waiting_requests + request.n > options.max_queued_requests ||
          inbox->waiting_tokens + tokens > options.max_queued_tokens) {
        return MakeError(ErrorCode::kResourceExhausted,
                         fmt::format("the queue is full: {} sequences with {} prompt tokens wait",
                                     inbox->waiting_requests, inbox->waiting_tokens));
      }
      inbox->waiting_requests += request.n;
      inbox->waiting_tokens += tokens;
      const RequestKey key = next_key++;
      channel = std::make_shared<RequestChannel>(key, request.n, inbox, waker);
      inbox->submissions.push_back({key, std::move(request), channel});
    }
    inbox->wake.notify_one();
    return Ticket(std::move(channel));
  }

  // A request that the empty queue does not hold is not to be tried again.
  Result<void> CheckFitsQueue(const GenerateRequest& request) const {
    if (request.n > options.max_queued_requests) {
      return MakeError(ErrorCode::kInvalidArgument,
                       fmt::format("n is {}; the queue holds {} sequences", request.n, options.max_queued_requests),
                       "n");
    }
    const int64_t tokens = static_cast<int64_t>(request.prompt.size()) * request.n;
    if (tokens > options.max_queued_tokens) {
      return MakeError(ErrorCode::kInvalidArgument,
                       fmt::format("{} sequences of {} prompt tokens are over the queue's limit of {} tokens",
                                   request.n, request.prompt.size(), options.max_queued_tokens),
                       request.n > 1 ? "n" : "prompt");
    }
    return {};
  }

  void Drain(Instant deadline) {
    std::unique_lock lock(inbox->mutex);
    inbox->draining = true;
    inbox->wake.notify_one();  // who sleeps wakes up to finish
    const auto done = [this] { return idle && inbox->submissions.empty(); };
    if (!drained.wait_until(lock, deadline, done)) {
      inbox->ending = true;
      inbox->wake.notify_one();
      drained.wait(lock, done);
    }
  }

  void Stop() {
    {
      const std::lock_guard lock(inbox->mutex);
      inbox->ending = true;
      inbox->stopping = true;
    }
    inbox->wake.notify_one();
    if (thread.joinable()) {
      thread.join();
    }
  }

  Result<std::shared_ptr<const PinnedPrefix>> Load(Engine::LoadRequest request) {
    std::promise<Result<std::shared_ptr<const PinnedPrefix>>> promise;
    auto result = promise.get_future();
    TRY(Call<void>([&]() -> Result<void> {
      BeginLoad(request, std::move(promise));
      return {};
    }));
    return result.get();
  }

  // Has the engine thread call `what` between two steps, and waits for its result.
  template <typename T>
  Result<T> Call(std::function<Result<T>()> what) {
    auto promise = std::make_shared<std::promise<Result<T>>>();
    auto result = promise->get_future();
    {
      const std::lock_guard lock(inbox->mutex);
      if (inbox->stopping) {
        return MakeError(ErrorCode::kUnavailable, "the server is shutting down");
      }
      inbox->commands.push_back([promise, what = std::move(what)] { promise->set_value(what()); });
    }
    inbox->wake.notify_one();
    return result.get();
  }

  // ---- Engine thread -------------------------------------------------------------------------------

  void Loop() {
    while (TakeInbox()) {
      if (kv.asleep()) {
        scheduler.Tick(Clock::now());
        Publish();
        Deliver();
      } else {
        Step();
      }
    }
    Publish();
    Deliver();
    if (!kv.asleep()) {
      kv.Save();
    }
    kv.SetWake({});
    const std::lock_guard lock(inbox->mutex);
    inbox->unpins.clear();
    inbox->stopped = true;
    idle = true;
    drained.notify_all();
  }

  // Waits for something to do, and takes it over. False when stopping: nothing is left then, and neither Submit nor
  // Call lets anything in behind, as they look at `stopping` under the same lock.
  bool TakeInbox() {
    bool ending = false;
    bool stopping = false;
    bool draining = false;
    {
      std::unique_lock lock(inbox->mutex);
      idle = scheduler.idle() && inbox->submissions.empty();
      if (idle) {
        drained.notify_all();
      }
      WaitForWork(lock);
      idle = false;
      inbox->memory_news = false;
      submissions.swap(inbox->submissions);
      cancellations.swap(inbox->cancellations);
      unpins.swap(inbox->unpins);
      commands.swap(inbox->commands);
      ending = inbox->ending;
      stopping = inbox->stopping;
      draining = inbox->draining;
    }
    unpins.clear();
    for (Submission& submission : submissions) {
      channels.emplace(submission.key, std::move(submission.channel));
      scheduler.Add(submission.key, std::move(submission.request), Clock::now());
    }
    submissions.clear();
    for (const Cancellation& cancellation : cancellations) {
      scheduler.Cancel(cancellation.key, cancellation.index);
    }
    cancellations.clear();
    if (draining && kv.asleep() && !scheduler.idle() && !wake_failed) {
      const auto awake = WakeUp();
      wake_failed = !awake.ok();
      if (wake_failed) {
        LOG_ERROR("cannot wake to finish what waits: {}", awake.error().message);
      }
    }
    if (ending || stopping) {
      scheduler.FailAll(MakeError(ErrorCode::kUnavailable, "the server is shutting down"), Clock::now());
    }
    for (const auto& command : commands) {
      command();
    }
    commands.clear();
    FinishLoads(stopping);
    return !stopping;
  }

  // Returns when there are news, or work that does not wait for any.
  void WaitForWork(std::unique_lock<std::mutex>& lock) {
    const auto ready = [this] {
      const bool steps = !kv.asleep() || inbox->ending || (inbox->draining && !wake_failed);
      return inbox->HasNews() || (steps && !scheduler.idle()) || (!kv.asleep() && kv.HasWork());
    };
    Instant until = kv.asleep() ? scheduler.NextDeadline() : kNever;
    const bool trims = !kv.asleep() && !trimmed && options.idle_trim > Duration::zero();
    if (trims) {
      until = Clock::now() + options.idle_trim;
    }
    if (until == kNever) {
      inbox->wake.wait(lock, ready);
    } else if (!inbox->wake.wait_until(lock, until, ready) && trims) {
      trimmed = true;
      lock.unlock();
      if (const auto done = kv.Trim(); !done.ok()) {
        LOG_WARNING("the KV cache could not give memory back: {}", done.error().message);
      }
      lock.lock();
    }
  }

  void Step() {
    const Instant start = Clock::now();
    const Plan& plan = scheduler.Next(start);
    trimmed = trimmed && plan.empty();
    const bool nothing_runs = plan.empty();  // asked now: applying the step empties the plan
    if (!nothing_runs) {
      RunPlan(plan, start);
    }
    Publish();  // first: who reads an end and submits again finds room
    Deliver();
    if (nothing_runs && !scheduler.idle()) {
      WaitForPagesOrDeadline();
    }
  }

  // ---- Memory --------------------------------------------------------------------------------------

  Result<void> GoToSleep(bool weights) {
    if (kv.asleep()) {
      return MakeError(ErrorCode::kFailedPrecondition, "the engine sleeps already");
    }
    if (kv.PinnedPages() > 0) {
      return MakeError(ErrorCode::kFailedPrecondition, "states keep KV pages: save and delete them first");
    }
    scheduler.PreemptAll();
    FinishLoads(true);
    TRY(kv.Sleep());
    const Result<void> executor_done = weights ? executor.Sleep() : Result<void>();
    if (!executor_done.ok() && kv.Wake().ok()) {
      return executor_done;
    }
    executor_sleeps = weights && executor_done.ok();
    asleep.store(true, std::memory_order_relaxed);  // before the caller hears of it
    LOG_INFO("asleep: {} given back", executor_sleeps ? "KV cache, weights and activations" : "the KV cache");
    if (!executor_done.ok()) {  // someone has taken the KV cache's memory meanwhile: a later wake tries again
      return executor_done.error().WithContext("the weights stay; the KV cache sleeps until the engine wakes");
    }
    return {};
  }

  Result<void> WakeUp() {
    if (!kv.asleep()) {
      return {};
    }
    if (executor_sleeps) {
      TRY(executor.Wake());
      executor_sleeps = false;
    }
    TRY(kv.Wake());
    asleep.store(false, std::memory_order_relaxed);
    LOG_INFO("awake");
    return {};
  }

  // A load that was asked for, until its pages are there.
  struct PendingLoad {
    memory::Restoring restoring;
    int64_t pages = 0;
    std::promise<Result<std::shared_ptr<const PinnedPrefix>>> promise;
  };

  void BeginLoad(Engine::LoadRequest& request, std::promise<Result<std::shared_ptr<const PinnedPrefix>>> promise) {
    if (kv.asleep()) {
      promise.set_value(MakeError(ErrorCode::kUnavailable, "the engine sleeps"));
      return;
    }
    const KvScope scope{request.cache_salt, request.tenant, request.switched, request.adapter};
    auto begun = scheduler.BeginLoad(request.tokens, scope, std::move(request.source));
    if (!begun.ok()) {
      promise.set_value(std::move(begun).error());
      return;
    }
    const int64_t pages = static_cast<int64_t>(request.tokens.size()) / kv.geometry().tokens_per_page;
    loads.push_back({std::move(begun).value(), pages, std::move(promise)});
  }

  // `giving_up`: none is waited for any more.
  void FinishLoads(bool giving_up) {
    if (!loads.empty()) {
      kv.Poll();
    }
    std::erase_if(loads, [&](PendingLoad& load) {
      if (giving_up) {
        load.promise.set_value(MakeError(ErrorCode::kUnavailable, "the engine stops or goes to sleep"));
      } else if (!load.restoring.done()) {
        return false;
      } else if (load.restoring.pages() < load.pages) {
        load.promise.set_value(MakeError(
            ErrorCode::kFailedPrecondition,
            fmt::format("only {} of the state's {} pages could be read", load.restoring.pages(), load.pages)));
      } else {
        load.promise.set_value(Pinned(load.restoring.TakePin()));
      }
      return true;
    });
  }

  std::shared_ptr<const PinnedPrefix> Pinned(memory::PrefixPin pin) {
    return std::make_shared<const PinnedPrefix>(std::move(pin), kv, inbox);
  }

  void RunPlan(const Plan& plan, Instant start) {
    StepStats step;
    for (const PlanRow& row : plan.rows) {
      const bool prefill = row.first_position < static_cast<int64_t>(row.prompt.size());
      (prefill ? step.prefill_tokens : step.decode_tokens) += static_cast<int64_t>(row.tokens.size());
    }
    executor.Launch(plan);
    kv.StepSubmitted();
    const auto result = executor.Await();
    const Instant end = Clock::now();
    step.duration = end - start;
    if (result.ok()) {
      scheduler.Apply(**result, end);
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
      const double seconds = std::max(ToSeconds(step.duration), 1e-9);
      const double rate = static_cast<double>(step.prefill_tokens) / seconds;
      const double old = prefill_rate.load(std::memory_order_relaxed);
      prefill_rate.store(old == 0 ? rate : 0.8 * old + 0.2 * rate, std::memory_order_relaxed);
      kv.SetComputeRate(prefill_rate);
    }
    if (observer) {
      observer(step);
    }
  }

  // Events to their channels, then one wake a request.
  void Deliver() {
    events.clear();
    scheduler.TakeEvents(events);
    for (SchedulerEvent& event : events) {
      if (event.output.kind == OutputEvent::Kind::kToken) {
        ++generation_tokens;
      }
      if (event.pin) {
        event.output.pinned = Pinned(std::move(event.pin));
      }
      const auto channel = channels.find(event.request);
      CHECK(channel != channels.end());
      if (channel->second->Write(std::move(event.output))) {
        to_wake.push_back(channel->second);
      }
      if (event.last) {
        channels.erase(channel);
      }
    }
    for (const auto& channel : to_wake) {
      channel->Wake();
    }
    to_wake.clear();
  }

  void Publish() {
    running.store(scheduler.running(), std::memory_order_relaxed);
    waiting.store(scheduler.waiting(), std::memory_order_relaxed);
    preemptions.store(scheduler.preemptions(), std::memory_order_relaxed);
    prefix_query_tokens.store(scheduler.prefix_query_tokens(), std::memory_order_relaxed);
    prefix_hit_tokens.store(scheduler.prefix_hit_tokens(), std::memory_order_relaxed);
    for (size_t i = 0; i < kPrefixLosses; ++i) {
      prefix_lost_tokens[i].store(scheduler.prefix_lost_tokens()[i], std::memory_order_relaxed);
    }
    most_pinned_pages.store(scheduler.most_pinned(), std::memory_order_relaxed);
    asleep.store(kv.asleep(), std::memory_order_relaxed);
    const int64_t tokens = scheduler.backlog_tokens();
    backlog.store(tokens, std::memory_order_relaxed);
    const std::lock_guard lock(inbox->mutex);
    inbox->waiting_requests = scheduler.waiting();
    inbox->waiting_tokens = tokens;
    for (const Submission& submission : inbox->submissions) {
      inbox->waiting_requests += submission.request.n;
      inbox->waiting_tokens += static_cast<int64_t>(submission.request.prompt.size()) * submission.request.n;
    }
  }

  // Sequences wait and none can run, for want of the machine's memory: look again soon.
  void WaitForPagesOrDeadline() {
    std::unique_lock lock(inbox->mutex);
    const Instant latest = Clock::now() + std::chrono::milliseconds(50);
    inbox->wake.wait_until(lock, std::min(latest, scheduler.NextDeadline()),
                           [this] { return inbox->HasNews() || inbox->ending; });
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
  std::unordered_map<RequestKey, std::shared_ptr<RequestChannel>> channels;  // of unfinished requests
  std::vector<Submission> submissions;                                       // scratch, as all below
  std::vector<Cancellation> cancellations;
  std::vector<memory::PrefixPin> unpins;
  std::vector<std::function<void()>> commands;
  std::vector<SchedulerEvent> events;
  std::vector<std::shared_ptr<RequestChannel>> to_wake;
  std::vector<PendingLoad> loads;
  bool executor_sleeps = false;
  bool trimmed = false;      // nothing was done since
  bool wake_failed = false;  // to drain

  // Written by the engine thread, read by any.
  std::atomic<int64_t> running{0};
  std::atomic<int64_t> waiting{0};
  std::atomic<int64_t> backlog{0};
  std::atomic<uint64_t> prompt_tokens{0};
  std::atomic<uint64_t> generation_tokens{0};
  std::atomic<uint64_t> preemptions{0};
  std::atomic<uint64_t> prefix_query_tokens{0};
  std::atomic<uint64_t> prefix_hit_tokens{0};
  std::array<std::atomic<uint64_t>, kPrefixLosses> prefix_lost_tokens{};
  std::atomic<int64_t> most_pinned_pages{0};
  std::atomic<bool> asleep{false};
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
  stats.prefix_query_tokens = impl_->prefix_query_tokens;
  stats.prefix_hit_tokens = impl_->prefix_hit_tokens;
  for (size_t i = 0; i < kPrefixLosses; ++i) {
    stats.prefix_lost_tokens[i] = impl_->prefix_lost_tokens[i];
  }
  stats.most_pinned_pages = impl_->most_pinned_pages;
  stats.asleep = impl_->asleep;
  stats.steps = impl_->steps;
  stats.backlog_tokens = static_cast<double>(impl_->backlog);
  stats.prefill_rate = impl_->prefill_rate;
  return stats;
}

Result<std::shared_ptr<const PinnedPrefix>> Engine::Load(LoadRequest request) {
  return impl_->Load(std::move(request));
}
Result<void> Engine::Sleep(bool weights) {
  return impl_->Call<void>([impl = impl_.get(), weights] { return impl->GoToSleep(weights); });
}
Result<void> Engine::Wake() {
  return impl_->Call<void>([impl = impl_.get()] { return impl->WakeUp(); });
}
Result<void> Engine::Trim() {
  return impl_->Call<void>([impl = impl_.get()] { return impl->kv.Trim(); });
}
Result<void> Engine::DropPrefixes() {
  return impl_->Call<void>([impl = impl_.get()] { return impl->kv.DropPrefixes(); });
}
Result<void> Engine::Resize(int64_t pages) {
  return impl_->Call<void>([impl = impl_.get(), pages]() -> Result<void> {
    TRY(impl->scheduler.CheckResize(pages));
    return impl->kv.Resize(pages);
  });
}

void Engine::Drain(Instant deadline) { impl_->Drain(deadline); }
void Engine::Stop() { impl_->Stop(); }

}  // namespace causeway::scheduler
