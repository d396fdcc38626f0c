// Decides what each step does. A pure state machine: no clock, no I/O, no randomness, no locks; the same
// calls give the same plans.
//
// Owner: the engine thread. Use: Add and Cancel between steps; Next, run the plan, Apply; TakeEvents after
// each of them.
//
// A step hands out at most max_num_batched_tokens: one token to each decoding sequence first, then prefill
// chunks in what is left, in order of precedence (policy/policy.h); a prefill that got nothing for
// max_prefill_stall_steps - 1 steps takes a small chunk before the decodes. A sequence is admitted when
// all of its known tokens fit the free pages and the running ones could still grow by one each; when a
// decode needs a page and none is free, the last in precedence is preempted: its pages go, its tokens
// stay, and it computes them again later, with the same bits. Full pages are published as they are computed,
// and whoever starts, again or for the first time, begins behind the pages that are known; if a tier has more of them,
// it waits until they are here, while others go on.
//
// Cost of a step: O(running); waiting sequences cost nothing until a deadline passes. In steady state
// (nobody comes or goes) Next, Apply and TakeEvents do not allocate.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "memory/kv_cache.h"
#include "scheduler/plan.h"
#include "scheduler/request.h"
#include "scheduler/sequence.h"
#include "scheduler/share_groups.h"

namespace causeway::scheduler {

struct SchedulerOptions {
  int64_t max_num_seqs = 64;
  int64_t max_num_batched_tokens = 512;
  int64_t max_prefill_stall_steps = 4;
  int64_t max_model_len = 0;
  bool prefix_caching = true;
  // The KV of sequences whose length limit is above this differs from that of others (longrope); 0: never.
  int64_t kv_switch_length = 0;
  Duration ageing = std::chrono::seconds(30);  // waiting so long lifts a request by one priority class
};

struct SchedulerEvent {
  RequestKey request = 0;
  OutputEvent output;
  memory::PrefixPin pin;  // for a request with `pin`, at its end
  bool last = false;      // the request's last sequence has ended
};

// kInvalidArgument if one sequence of the request could outgrow what its tenant can have of the cache. Any thread.
Result<void> CheckFits(const GenerateRequest& request, const memory::KvCache& kv);

class Scheduler {
 public:
  Scheduler(const SchedulerOptions& options, memory::KvCache& kv);

  // Takes a request that ValidateRequest accepts. One that CheckFits has come to refuse ends with its error.
  void Add(RequestKey key, GenerateRequest request, Instant now);
  // Ends one sequence (index >= 0) or all of a request (-1) at the next boundary. What has ended already,
  // or never was, is ignored.
  void Cancel(RequestKey key, int index);
  // Ends everything with an error; drops the plan if there is one.
  void FailAll(const Error& error, Instant now);

  // The next step; empty if there is nothing to do. Its views stay valid until Apply.
  const Plan& Next(Instant now);
  void Apply(const StepResult& result, Instant now);
  // The step could not be run: its sequences end with `error`, all others go on.
  void ApplyFailure(const Error& error, Instant now);

  // Ends what was cancelled and what ran out of time, without a step: for an engine that sleeps.
  void Tick(Instant now);
  // All sequences wait from now on, and hold nothing.
  void PreemptAll();
  // Whether every unfinished request, and one of max_model_len beside the pinned pages, fits a cache of so many pages.
  Result<void> CheckResize(int64_t pages) const;
  // Begins to take pages in that were computed elsewhere (KvCache::Load).
  Result<memory::Restoring> BeginLoad(std::span<const Token> tokens, const KvScope& scope,
                                      std::unique_ptr<memory::PageSource> source);
  // Pages that states may pin: a request of max_model_len still finds room, whosever it is.
  int64_t most_pinned() const;

  // Appends the events since the last call, in order.
  void TakeEvents(std::vector<SchedulerEvent>& events);

  int64_t waiting() const { return static_cast<int64_t>(waiting_.size()); }
  int64_t running() const { return static_cast<int64_t>(running_.size()); }
  int64_t backlog_tokens() const;  // not yet computed, of waiting sequences and running prefills
  uint64_t preemptions() const { return preemptions_; }
  // Prompt tokens of sequences that started, and those of them whose KV was known.
  uint64_t prefix_query_tokens() const { return prefix_query_tokens_; }
  uint64_t prefix_hit_tokens() const { return prefix_hit_tokens_; }
  const std::array<uint64_t, kPrefixLosses>& prefix_lost_tokens() const { return prefix_lost_tokens_; }
  bool idle() const { return sequences_.empty(); }
  // No deadline passes before this; later than the `now` of the last Next. For an idle engine's sleep.
  Instant NextDeadline() const { return next_deadline_; }
  void CheckInvariants() const;

 private:
  struct ByPrecedence {
    bool operator()(const Sequence* a, const Sequence* b) const { return a->precedence < b->precedence; }
  };

  void RemoveCancelled(Instant now);
  void Expire(Instant now);

  void PlanStalledPrefills();
  void PlanDecodes();
  void PlanPrefills(Instant now);
  void Admit(const Sequence* before, Instant now);
  bool Start(Sequence& sequence, Instant now);
  bool TryStart(Sequence& sequence, Instant now);
  void CountPrefix(const Sequence& sequence, const memory::PrefixQuery& query, int64_t computed);
  enum class Readiness : uint8_t { kReady, kRestoring, kBlocked };
  Readiness AskTier(Sequence& sequence);
  bool DropRestores(const Sequence* but);
  Result<void> CheckPins(memory::TenantId tenant, int64_t more, const Request* but) const;
  Result<void> CheckQuota(const Request& request, int64_t more) const;
  memory::PrefixPin PinOf(const Sequence& sequence, Error& error);
  const Sequence* FirstSibling(const Sequence& sequence) const;
  bool WaitsForSibling(const Sequence& sequence) const;
  void TakePartialPage(const Sequence& sequence, Running& state);
  memory::PrefixQuery KnownPrefix(Sequence& sequence);
  void PublishPages(Sequence& sequence);
  int64_t GrowingSequences() const;
  void Grant(Sequence& sequence, int64_t tokens);
  bool EnsurePages(Sequence& sequence, int64_t positions);
  void Preempt(Sequence& victim);
  void CountStalls();
  void MapAhead();
  int64_t MostPinned(int64_t budget) const;
  void BuildPlan();
  void GroupRows();
  void CheckGroups() const;
  void FillRow(const Sequence& sequence, PlanRow& row) const;

  void AppendToken(Sequence& sequence, const RowResult& row, Instant now);
  void EmitPromptScores(Sequence& sequence, const RowResult& row);
  void Finish(Sequence& sequence, FinishReason reason, Token stop_token, Error error, Instant now);

  void EnterWaiting(Sequence& sequence);
  void LeaveWaiting(Sequence& sequence);

  const SchedulerOptions options_;
  memory::KvCache& kv_;

  // Unfinished ones; nodes do not move, so pointers to them hold until Finish.
  std::unordered_map<RequestKey, Request> requests_;
  std::map<SequenceId, Sequence> sequences_;
  std::set<Sequence*, ByPrecedence> waiting_;
  std::vector<Sequence*> running_;     // in order of admission
  std::vector<Sequence*> restoring_;   // of waiting_: pages come back for them
  int64_t waiting_tokens_ = 0;         // sum of size() over waiting_
  std::vector<SequenceId> cancelled_;  // to be ended at the next boundary
  Instant next_deadline_ = kNever;     // a lower bound

  // The step being planned.
  int64_t budget_ = 0;                      // tokens left to hand out
  bool admitting_ = true;                   // pages are there for newcomers
  std::vector<Sequence*> candidates_;       // scratch
  std::vector<Sequence*> planned_;          // whose rows the plan has, in its order
  std::vector<const memory::Span*> spans_;  // of planned_
  ShareGroups share_groups_;
  Plan plan_;

  std::vector<SchedulerEvent> events_;
  SequenceId next_id_ = 1;
  uint64_t preemptions_ = 0;
  uint64_t prefix_query_tokens_ = 0;
  uint64_t prefix_hit_tokens_ = 0;
  std::array<uint64_t, kPrefixLosses> prefix_lost_tokens_{};
};

}  // namespace causeway::scheduler
