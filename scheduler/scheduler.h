// Decides what each step does. A pure state machine: no clock, no I/O, no randomness, no locks; the same
// calls give the same plans.
//
// Owner: the engine thread. Use: Add and Cancel between steps; Next, run the plan, Apply; TakeEvents after
// each of them.
//
// A step hands out at most max_num_batched_tokens: one token to each decoding sequence first, then prefill
// chunks in what is left; a prefill that got nothing for max_prefill_stall_steps - 1 steps goes before the
// decodes. A sequence is admitted when all of its known tokens fit the free pages; when a decode needs a
// page and none is free, the least important, newest sequence is preempted: its pages go, its tokens stay,
// and it computes them again later, with the same bits.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "memory/kv_cache.h"
#include "scheduler/plan.h"
#include "scheduler/request.h"
#include "scheduler/sequence.h"

namespace causeway::scheduler {

struct SchedulerOptions {
  int64_t max_num_seqs = 64;
  int64_t max_num_batched_tokens = 512;
  int64_t max_prefill_stall_steps = 4;
  int64_t max_model_len = 0;
  Duration ageing = std::chrono::seconds(30);  // waiting so long lifts a request by one priority class
};

struct SchedulerEvent {
  RequestKey request = 0;
  OutputEvent output;
  bool last = false;  // the request's last sequence has ended
};

class Scheduler {
 public:
  Scheduler(const SchedulerOptions& options, memory::KvCache& kv);

  // Takes a valid request (ValidateRequest). kInvalidArgument if it could never fit the cache.
  Result<void> Add(RequestKey key, GenerateRequest request, Instant now);
  // Ends one sequence (index >= 0) or all of a request (-1) at the next boundary. Unknown keys are ignored.
  void Cancel(RequestKey key, int index);
  // Ends everything with an error.
  void FailAll(const Error& error, Instant now);

  // The next step; empty if there is nothing to do. Its views stay valid until Apply.
  const Plan& Next(Instant now);
  void Apply(const StepResult& result, Instant now);
  // The step could not be run: its requests end with `error`.
  void ApplyFailure(const Error& error, Instant now);

  // Events since the last call, in order.
  void TakeEvents(std::vector<SchedulerEvent>& events);

  int64_t waiting() const;
  int64_t running() const { return static_cast<int64_t>(running_.size()); }
  int64_t waiting_tokens() const;  // not yet computed, of waiting sequences and running prefills
  uint64_t preemptions() const { return preemptions_; }
  bool idle() const { return sequences_.empty(); }
  // When the next queue or run deadline passes, for an idle engine's sleep.
  Instant NextDeadline() const;
  void CheckInvariants() const;

 private:
  static constexpr int kClasses = 3;
  struct Share {
    Sequence* sequence;
    int64_t tokens;
  };

  void RemoveCancelled(Instant now);
  void Expire(Instant now);
  void PlanDecodes(int64_t& budget);
  void PlanPrefills(int64_t& budget, bool stalled_only);
  void Admit(int64_t& budget, Instant now);
  Sequence* NextWaiting(Instant now) const;
  bool Start(Sequence& sequence, Instant now);
  bool EnsurePages(Sequence& sequence, int64_t positions);
  void Preempt(Sequence& victim);
  void BuildPlan();
  void FillRow(const Share& share, PlanRow& row) const;

  void AppendToken(Sequence& sequence, const RowResult& row, Instant now);
  void EmitPromptScores(Sequence& sequence, const RowResult& row);
  void Finish(Sequence& sequence, FinishReason reason, Token stop_token, Error error, Instant now);
  bool WantsPromptScores(const Sequence& sequence) const;
  const Request& RequestOf(const Sequence& sequence) const { return requests_.at(sequence.request); }

  const SchedulerOptions options_;
  memory::KvCache& kv_;
  std::map<RequestKey, Request> requests_;
  std::map<SequenceId, Sequence> sequences_;                // every unfinished one; nodes do not move
  std::array<std::deque<Sequence*>, kClasses> waiting_;     // by priority class, oldest first
  std::vector<Sequence*> running_;                          // in order of admission
  std::vector<Share> shares_;                               // of the step being planned
  size_t first_decode_ = 0;                                 // rotates when decodes exceed the budget
  Plan plan_;
  std::vector<SchedulerEvent> events_;
  SequenceId next_id_ = 1;
  uint64_t preemptions_ = 0;
  bool preempted_now_ = false;
};

}  // namespace causeway::scheduler
