// The serving engine: one thread round a Scheduler and an Executor. The only serving type that front ends
// see.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/keyed_hash.h"
#include "base/result.h"
#include "memory/page_tier.h"
#include "scheduler/executor.h"
#include "scheduler/request.h"

namespace causeway::memory {
class KvCache;
}

namespace causeway::scheduler {

// Engine to front end: "there is something to read". Called on the engine thread; must not block or throw.
class Waker {
 public:
  virtual ~Waker() = default;
  virtual void Wake() noexcept = 0;
};

class RequestChannel;  // scheduler/channel.h: events of one request, engine side writes, ticket reads

// A running request. Destroying it cancels what has not finished; its pages are free at the next step
// boundary. Used by one thread at a time.
class Ticket {
 public:
  explicit Ticket(std::shared_ptr<RequestChannel> channel);
  ~Ticket();
  Ticket(Ticket&&) noexcept;
  Ticket& operator=(Ticket&&) noexcept;

  // Moves out all events that have happened since the last call; never waits. Appends to `events`.
  void Read(std::vector<OutputEvent>& events);
  // Ends one sequence at the next step boundary (a stop string matched). Its finish event still comes.
  void CancelSequence(int index);

 private:
  void Release();

  std::shared_ptr<RequestChannel> channel_;
};

struct EngineOptions {
  ModelLimits limits = {};
  int64_t max_num_seqs = 64;             // sequences running at once
  int64_t max_num_batched_tokens = 512;  // tokens of a step, decodes and prefill together
  int64_t max_prefill_stall_steps = 4;   // a parked prefill advances at least once in so many steps
  bool prefix_caching = true;            // later requests begin behind the pages of earlier ones
  int64_t kv_switch_length = 0;          // SchedulerOptions
  Duration idle_trim{};                  // after so long without work the KV cache gives unused memory back; 0: never
  int64_t max_queued_requests = 1024;    // waiting, by requests (n counts n times)
  int64_t max_queued_tokens = 1 << 20;   // not yet computed prompt tokens, of waiting and running ones
};

// A consistent enough snapshot for metrics; any thread.
struct EngineStats {
  int64_t running = 0;
  int64_t waiting = 0;
  double kv_usage = 0.0;       // pages in use / pages of the budget
  uint64_t prompt_tokens = 0;  // prompt tokens computed
  uint64_t generation_tokens = 0;
  uint64_t preemptions = 0;
  uint64_t prefix_query_tokens = 0;  // prompt tokens looked up, and found, in the prefix index
  uint64_t prefix_hit_tokens = 0;
  std::array<uint64_t, kPrefixLosses> prefix_lost_tokens{};
  int64_t most_pinned_pages = 0;  // that states may keep
  bool asleep = false;
  uint64_t steps = 0;
  double backlog_tokens = 0;  // prompt tokens waiting to be computed
  double prefill_rate = 0;    // measured prompt tokens/s, for Retry-After
};

// One finished step, for the iteration histograms. Called on the engine thread; must be cheap.
struct StepStats {
  int64_t prefill_tokens = 0;
  int64_t decode_tokens = 0;
  Duration duration{};
};
using StepObserver = std::function<void(const StepStats&)>;

class Engine {
 public:
  // `kv` and `executor` must outlive the engine. The thread starts here.
  Engine(const EngineOptions& options, memory::KvCache& kv, Executor& executor, StepObserver observer = {});
  ~Engine();  // Stop()

  // Any thread; never waits. kInvalidArgument and kContextLength for a bad request (or one that can never
  // fit the cache or the queue), kResourceExhausted for a full queue, kUnavailable while draining.
  // `waker` must outlive the ticket. Whatever happens, each sequence of the ticket gets its finish event.
  Result<Ticket> Submit(GenerateRequest request, Waker& waker);

  EngineStats Stats() const;

  // ---- Memory: any thread but the engine's; each waits for the next step boundary, and for its work ----

  // What a state's pages hold, by tenant and salt, and where their bytes come from.
  struct LoadRequest {
    std::vector<Token> tokens;
    std::string cache_salt;
    memory::TenantId tenant = memory::kDefaultTenant;
    Digest adapter{};                            // Adapter::digest; zeros: none
    bool switched = false;                       // longrope: for lengths above kv_switch_length
    std::unique_ptr<memory::PageSource> source;  // of all full pages
  };
  // Puts pages that were computed elsewhere into the cache and pins them. kResourceExhausted where they find no room.
  Result<std::shared_ptr<const PinnedPrefix>> Load(LoadRequest request);
  // Gives all KV memory back, and with `weights` that of weights and activations too. Requests wait, with their
  // deadlines, until Wake. kFailedPrecondition while states are kept; nothing has changed then.
  Result<void> Sleep(bool weights);
  // Takes the memory back, all or nothing.
  Result<void> Wake();
  // Gives back what is parked and free.
  Result<void> Trim();
  // Forgets every prefix that nobody uses.
  Result<void> DropPrefixes();
  // Lets the KV cache have this many pages; kResourceExhausted while more are in use.
  Result<void> Resize(int64_t pages);

  // Any thread. Stops admitting; returns when all requests have ended. At `deadline` the rest is made to
  // end, with kUnavailable, at the next step boundary.
  void Drain(Instant deadline);
  // Ends everything at the next step boundary, with kUnavailable, and joins the thread. One thread at a time.
  void Stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace causeway::scheduler
