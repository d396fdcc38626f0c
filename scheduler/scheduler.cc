#include "scheduler/scheduler.h"

#include <algorithm>

#include "base/check.h"
#include "fmt/format.h"
#include "scheduler/policy/policy.h"

namespace causeway::scheduler {
namespace {

Running& RunningOf(Sequence& sequence) { return std::get<Running>(sequence.state); }
const Running& RunningOf(const Sequence& sequence) { return std::get<Running>(sequence.state); }
bool IsRunning(const Sequence& sequence) { return std::holds_alternative<Running>(sequence.state); }

// Decoding: all but the newest token is computed, and that one was drawn or ends the prompt.
int64_t Remaining(const Sequence& sequence) { return sequence.size() - RunningOf(sequence).computed; }

std::vector<Token> EndIdsOf(const StopParams& stop) {
  std::vector<Token> ids = stop.stop_token_ids;
  if (!stop.ignore_eos) {
    ids.insert(ids.end(), stop.eos_ids.begin(), stop.eos_ids.end());
  }
  return ids;
}

}  // namespace

Scheduler::Scheduler(const SchedulerOptions& options, memory::KvCache& kv) : options_(options), kv_(kv) {
  CHECK(options.max_num_seqs > 0 && options.max_num_batched_tokens > 0);
  CHECK(options.max_prefill_stall_steps > 0 && options.max_model_len > 0);
}

// ---- Coming and going ------------------------------------------------------------------------------

Result<void> Scheduler::Add(RequestKey key, GenerateRequest params, Instant now) {
  const auto prompt = static_cast<int64_t>(params.prompt.size());
  const int64_t most = prompt + params.stop.max_tokens;
  if (kv_.geometry().PagesFor(most) > kv_.options().max_pages) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("the request may need {} tokens of KV cache, which holds {}", most,
                                 kv_.options().max_pages * kv_.geometry().tokens_per_page),
                     "max_tokens");
  }
  CHECK(!requests_.contains(key));
  Request& request = requests_[key];
  request.params = std::move(params);
  request.unfinished = request.params.n;
  for (int index = 0; index < request.params.n; ++index) {
    const SequenceId id = next_id_++;
    Sequence& sequence = sequences_[id];
    sequence.id = id;
    sequence.request = key;
    sequence.index = index;
    sequence.tokens.reserve(static_cast<size_t>(most) + 1);
    sequence.tokens = request.params.prompt;
    sequence.tokens.reserve(static_cast<size_t>(most) + 1);
    sequence.end_ids = EndIdsOf(request.params.stop);
    sequence.times = {request.params.arrival, kNever, kNever, now};
    waiting_[static_cast<size_t>(request.params.priority)].push_back(&sequence);
  }
  return {};
}

void Scheduler::Cancel(RequestKey key, int index) {
  for (auto& [id, sequence] : sequences_) {
    if (sequence.request == key && (index < 0 || sequence.index == index)) {
      sequence.cancelled = true;
    }
  }
}

void Scheduler::RemoveCancelled(Instant now) {
  for (auto it = sequences_.begin(); it != sequences_.end();) {
    Sequence& sequence = (it++)->second;  // Finish erases it
    if (sequence.cancelled) {
      Finish(sequence, FinishReason::kCancelled, -1, {}, now);
    }
  }
}

void Scheduler::Expire(Instant now) {
  for (auto it = sequences_.begin(); it != sequences_.end();) {
    Sequence& sequence = (it++)->second;
    const GenerateRequest& params = RequestOf(sequence).params;
    if (now >= params.run_deadline) {
      Finish(sequence, FinishReason::kError, -1,
             MakeError(ErrorCode::kDeadlineExceeded, "the request did not end by its run deadline"), now);
    } else if (now >= params.queue_deadline && sequence.times.scheduled == kNever) {
      Finish(sequence, FinishReason::kError, -1,
             MakeError(ErrorCode::kDeadlineExceeded, "the request did not start by its queue deadline"), now);
    }
  }
}

void Scheduler::FailAll(const Error& error, Instant now) {
  for (auto it = sequences_.begin(); it != sequences_.end();) {
    Finish((it++)->second, FinishReason::kError, -1, error, now);
  }
}

Instant Scheduler::NextDeadline() const {
  Instant next = kNever;
  for (const auto& [key, request] : requests_) {
    next = std::min({next, request.params.run_deadline, request.params.queue_deadline});
  }
  return next;
}

// Releases what the sequence holds and says so once.
void Scheduler::Finish(Sequence& sequence, FinishReason reason, Token stop_token, Error error, Instant now) {
  const auto request = requests_.find(sequence.request);
  CHECK(request != requests_.end());
  SchedulerEvent event;
  event.request = sequence.request;
  event.output.kind = OutputEvent::Kind::kFinish;
  event.output.index = sequence.index;
  event.output.finish = reason;
  event.output.stop_token = stop_token;
  event.output.error = std::move(error);
  event.output.prompt_tokens = request->second.prompt_size();
  event.output.output_tokens = sequence.size() - request->second.prompt_size();
  event.output.preemptions = sequence.preemptions;
  event.output.times = sequence.times;
  event.output.times.finished = now;
  event.last = --request->second.unfinished == 0;
  events_.push_back(std::move(event));
  if (IsRunning(sequence)) {
    std::erase(running_, &sequence);
  } else {
    std::erase(waiting_[static_cast<size_t>(request->second.params.priority)], &sequence);
  }
  if (request->second.unfinished == 0) {
    requests_.erase(request);
  }
  sequences_.erase(sequence.id);
}

// ---- Planning --------------------------------------------------------------------------------------

const Plan& Scheduler::Next(Instant now) {
  RemoveCancelled(now);
  Expire(now);
  shares_.clear();
  preempted_now_ = false;
  int64_t budget = options_.max_num_batched_tokens;
  PlanPrefills(budget, /*stalled_only=*/true);
  PlanDecodes(budget);
  PlanPrefills(budget, /*stalled_only=*/false);
  if (!preempted_now_) {  // pages are short: nobody new until there are some
    Admit(budget, now);
  }
  for (Sequence* const sequence : running_) {
    const bool served = std::any_of(shares_.begin(), shares_.end(),
                                    [&](const Share& share) { return share.sequence == sequence; });
    RunningOf(*sequence).stalled = served ? 0 : RunningOf(*sequence).stalled + 1;
  }
  BuildPlan();
  return plan_;
}

void Scheduler::PlanDecodes(int64_t& budget) {
  // A copy, because preemption changes running_. The start rotates so that a budget below the number of
  // decodes serves them in turn.
  std::vector<Sequence*> decodes;
  for (Sequence* const sequence : running_) {
    if (Remaining(*sequence) == 1) {
      decodes.push_back(sequence);
    }
  }
  if (decodes.empty()) {
    return;
  }
  const size_t start = static_cast<int64_t>(decodes.size()) > budget ? first_decode_ % decodes.size() : 0;
  size_t served = 0;
  for (size_t i = 0; i < decodes.size() && budget > 0; ++i) {
    Sequence* const sequence = decodes[(start + i) % decodes.size()];
    if (!IsRunning(*sequence)) {
      continue;  // preempted a moment ago
    }
    if (EnsurePages(*sequence, sequence->size())) {
      shares_.push_back({sequence, 1});
      --budget;
      ++served;
    }
  }
  first_decode_ = start + served;
}

void Scheduler::PlanPrefills(int64_t& budget, bool stalled_only) {
  for (Sequence* const sequence : running_) {
    const int64_t remaining = Remaining(*sequence);
    const bool stalled = RunningOf(*sequence).stalled + 1 >= options_.max_prefill_stall_steps;
    if (remaining <= 1 || budget <= 0 || (stalled_only && !stalled)) {
      continue;
    }
    const bool planned = std::any_of(shares_.begin(), shares_.end(),
                                     [&](const Share& share) { return share.sequence == sequence; });
    if (planned) {
      continue;
    }
    // A stalled one takes a small share, so that the decodes do not stall in turn.
    constexpr int64_t kStalledChunk = 16;
    const int64_t tokens = std::min({remaining, budget, stalled_only ? kStalledChunk : remaining});
    shares_.push_back({sequence, tokens});  // its pages were reserved when it was admitted
    budget -= tokens;
  }
}

void Scheduler::Admit(int64_t& budget, Instant now) {
  while (budget > 0 && running() < options_.max_num_seqs) {
    Sequence* const sequence = NextWaiting(now);
    if (sequence == nullptr || !Start(*sequence, now)) {
      return;
    }
    const int64_t tokens = std::min(budget, Remaining(*sequence));
    shares_.push_back({sequence, tokens});
    budget -= tokens;
  }
}

Sequence* Scheduler::NextWaiting(Instant now) const {
  Sequence* best = nullptr;
  for (int i = 0; i < kClasses; ++i) {
    if (waiting_[static_cast<size_t>(i)].empty()) {
      continue;
    }
    Sequence* const front = waiting_[static_cast<size_t>(i)].front();
    if (best == nullptr ||
        AdmitsBefore({i, front->times.arrival, front->id}, {static_cast<int>(RequestOf(*best).params.priority),
                                                           best->times.arrival, best->id},
                     now, options_.ageing)) {
      best = front;
    }
  }
  return best;
}

bool Scheduler::Start(Sequence& sequence, Instant now) {
  auto span = kv_.CreateSpan(sequence.size());
  if (!span.ok()) {
    return false;
  }
  Running state;
  state.span = std::move(span).value();
  if (!kv_.Reserve(state.span, sequence.size()).ok()) {
    return false;  // the span parks again; the sequence waits on
  }
  state.segment = {state.span.base(), 0, state.span.capacity_positions()};
  auto& queue = waiting_[static_cast<size_t>(RequestOf(sequence).params.priority)];
  CHECK(!queue.empty() && queue.front() == &sequence);
  queue.pop_front();
  sequence.state = std::move(state);
  if (sequence.times.scheduled == kNever) {
    sequence.times.scheduled = now;
  }
  running_.push_back(&sequence);
  return true;
}

// Makes room for `positions`, preempting others if it must, or the sequence itself as the last resort.
bool Scheduler::EnsurePages(Sequence& sequence, int64_t positions) {
  Running& state = RunningOf(sequence);
  while (!kv_.Reserve(state.span, positions).ok()) {
    const auto key = [&](const Sequence& s) {
      return VictimKey{static_cast<int>(RequestOf(s).params.priority), s.id};
    };
    Sequence* victim = &sequence;
    for (Sequence* const other : running_) {
      if (PreemptsBefore(key(*other), key(*victim))) {
        victim = other;
      }
    }
    Preempt(*victim);
    if (victim == &sequence) {
      return false;
    }
  }
  state.segment.positions = state.span.capacity_positions();
  return true;
}

void Scheduler::Preempt(Sequence& victim) {
  std::erase(running_, &victim);
  std::erase_if(shares_, [&](const Share& share) { return share.sequence == &victim; });
  victim.state = Waiting{};  // the span parks; its pages are free to take
  ++victim.preemptions;
  ++preemptions_;
  preempted_now_ = true;
  // The head of its class, among other preempted ones by age.
  auto& queue = waiting_[static_cast<size_t>(RequestOf(victim).params.priority)];
  const auto place = std::find_if(queue.begin(), queue.end(),
                                  [&](const Sequence* other) { return other->id > victim.id; });
  queue.insert(place, &victim);
}

void Scheduler::BuildPlan() {
  // Decodes first: executors see the cheap rows together.
  std::stable_partition(shares_.begin(), shares_.end(), [](const Share& share) { return share.tokens == 1; });
  ++plan_.step;
  plan_.rows.resize(shares_.size());
  plan_.total_tokens = 0;
  for (size_t i = 0; i < shares_.size(); ++i) {
    FillRow(shares_[i], plan_.rows[i]);
    plan_.total_tokens += shares_[i].tokens;
  }
  CHECK(plan_.total_tokens <= options_.max_num_batched_tokens);
}

void Scheduler::FillRow(const Share& share, PlanRow& row) const {
  const Sequence& sequence = *share.sequence;
  const Request& request = RequestOf(sequence);
  const Running& state = RunningOf(sequence);
  const std::span<const Token> tokens(sequence.tokens);
  const auto prompt = static_cast<size_t>(request.prompt_size());
  const bool reaches_end = state.computed + share.tokens == sequence.size();
  const int64_t output = sequence.size() - request.prompt_size();
  row.sequence = sequence.id;
  row.tokens = tokens.subspan(static_cast<size_t>(state.computed), static_cast<size_t>(share.tokens));
  row.first_position = state.computed;
  row.segments = {&state.segment, 1};
  row.sample = reaches_end && request.params.stop.max_tokens > output;
  row.sampling = &request.params.sampling;
  row.prompt = tokens.first(prompt);
  row.output = tokens.subspan(prompt);
  row.banned = output < request.params.stop.min_tokens ? std::span<const Token>(sequence.end_ids)
                                                       : std::span<const Token>();
  row.stream = static_cast<uint64_t>(sequence.index);
  row.counter = static_cast<uint64_t>(sequence.size());
  row.length_limit = request.prompt_size() + request.params.stop.max_tokens;
  row.prompt_logprobs = WantsPromptScores(sequence) ? request.params.sampling.prompt_logprobs : -1;
}

bool Scheduler::WantsPromptScores(const Sequence& sequence) const {
  const Request& request = RequestOf(sequence);
  return request.params.sampling.prompt_logprobs >= 0 && sequence.index == 0 &&
         sequence.scored_until + 1 < request.prompt_size();
}

// ---- Results ---------------------------------------------------------------------------------------

void Scheduler::Apply(const StepResult& result, Instant now) {
  CHECK(result.rows.size() == plan_.rows.size());
  for (size_t i = 0; i < plan_.rows.size(); ++i) {
    const auto it = sequences_.find(plan_.rows[i].sequence);
    CHECK(it != sequences_.end());
    Sequence& sequence = it->second;
    RunningOf(sequence).computed += static_cast<int64_t>(plan_.rows[i].tokens.size());
    EmitPromptScores(sequence, result.rows[i]);
    if (plan_.rows[i].sample) {
      CHECK(result.rows[i].sampled);
      AppendToken(sequence, result.rows[i], now);
    } else if (RunningOf(sequence).computed == sequence.size()) {
      Finish(sequence, FinishReason::kLength, -1, {}, now);  // max_tokens 0: the prompt was all
    }
  }
  plan_.rows.clear();
}

void Scheduler::ApplyFailure(const Error& error, Instant now) {
  for (const PlanRow& row : plan_.rows) {
    const auto it = sequences_.find(row.sequence);
    if (it != sequences_.end()) {
      Finish(it->second, FinishReason::kError, -1, error, now);
    }
  }
  plan_.rows.clear();
}

void Scheduler::EmitPromptScores(Sequence& sequence, const RowResult& row) {
  if (!WantsPromptScores(sequence)) {
    return;
  }
  const auto emit = [&](int64_t position, bool scored, float logprob, std::vector<TokenLogprob> top) {
    SchedulerEvent event;
    event.request = sequence.request;
    event.output.kind = OutputEvent::Kind::kPromptToken;
    event.output.index = 0;
    event.output.token = sequence.tokens[static_cast<size_t>(position)];
    event.output.has_logprob = scored;
    event.output.logprob = logprob;
    event.output.top = std::move(top);
    events_.push_back(std::move(event));
    sequence.scored_until = position;
  };
  if (sequence.scored_until < 0) {
    emit(0, false, 0.0F, {});  // nothing comes before the first token
  }
  for (const RowResult::PromptScore& score : row.prompt_scores) {
    if (score.position == sequence.scored_until + 1) {  // a recomputed prefix is not scored twice
      emit(score.position, true, score.logprob, score.top);
    }
  }
}

void Scheduler::AppendToken(Sequence& sequence, const RowResult& row, Instant now) {
  const Request& request = RequestOf(sequence);
  sequence.tokens.push_back(row.token);
  if (sequence.times.first_token == kNever) {
    sequence.times.first_token = now;
  }
  SchedulerEvent event;
  event.request = sequence.request;
  event.output.kind = OutputEvent::Kind::kToken;
  event.output.index = sequence.index;
  event.output.token = row.token;
  event.output.has_logprob = request.params.sampling.logprobs >= 0;
  event.output.logprob = row.logprob;
  event.output.top = row.top;
  events_.push_back(std::move(event));
  const int64_t output = sequence.size() - request.prompt_size();
  const bool ends = output >= request.params.stop.min_tokens &&
                    std::find(sequence.end_ids.begin(), sequence.end_ids.end(), row.token) !=
                        sequence.end_ids.end();
  if (ends) {
    Finish(sequence, FinishReason::kStop, row.token, {}, now);
  } else if (output >= request.params.stop.max_tokens || sequence.size() >= options_.max_model_len) {
    Finish(sequence, FinishReason::kLength, -1, {}, now);
  }
}

void Scheduler::TakeEvents(std::vector<SchedulerEvent>& events) {
  std::move(events_.begin(), events_.end(), std::back_inserter(events));
  events_.clear();
}

// ---- Figures ---------------------------------------------------------------------------------------

int64_t Scheduler::waiting() const {
  int64_t count = 0;
  for (const auto& queue : waiting_) {
    count += static_cast<int64_t>(queue.size());
  }
  return count;
}

int64_t Scheduler::waiting_tokens() const {
  int64_t tokens = 0;
  for (const auto& queue : waiting_) {
    for (const Sequence* const sequence : queue) {
      tokens += sequence->size();
    }
  }
  for (const Sequence* const sequence : running_) {
    tokens += std::max<int64_t>(0, Remaining(*sequence) - 1);
  }
  return tokens;
}

void Scheduler::CheckInvariants() const {
  CHECK(waiting() + running() == static_cast<int64_t>(sequences_.size()));
  CHECK(running() <= options_.max_num_seqs);
  std::map<RequestKey, int> unfinished;
  for (const auto& [id, sequence] : sequences_) {
    ++unfinished[sequence.request];
    if (IsRunning(sequence)) {
      const Running& state = RunningOf(sequence);
      CHECK(state.computed >= 0 && state.computed < sequence.size());
      CHECK(state.span.capacity_positions() >= state.computed);
    }
  }
  CHECK(unfinished.size() == requests_.size());
  for (const auto& [key, request] : requests_) {
    CHECK(unfinished[key] == request.unfinished);
  }
  kv_.CheckInvariants();
}

}  // namespace causeway::scheduler
