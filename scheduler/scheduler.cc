#include "scheduler/scheduler.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/check.h"
#include "fmt/format.h"
#include "scheduler/adapter.h"

namespace causeway::scheduler {
namespace {

// What a stalled prefill takes at most, so that the decodes do not stall in turn.
constexpr int64_t kStalledChunk = 16;

// Known tokens without KV, less what this step computes.
int64_t Remaining(const Sequence& sequence) {
  const Running& state = RunningOf(sequence);
  return sequence.size() - state.computed - state.planned;
}

// Longest without a share first.
bool StalledLonger(const Sequence* a, const Sequence* b) {
  const int64_t a_stalled = RunningOf(*a).stalled;
  const int64_t b_stalled = RunningOf(*b).stalled;
  return a_stalled != b_stalled ? a_stalled > b_stalled : a->precedence < b->precedence;
}

std::vector<Token> EndIdsOf(const StopParams& stop) {
  std::vector<Token> ids = stop.stop_token_ids;
  if (!stop.ignore_eos) {
    ids.insert(ids.end(), stop.eos_ids.begin(), stop.eos_ids.end());
  }
  return ids;
}

// When the sequence ends for want of time, as far as is known now.
Instant DeadlineOf(const Sequence& sequence) {
  const GenerateRequest& params = sequence.request->params;
  return sequence.started() ? params.run_deadline : std::min(params.run_deadline, params.queue_deadline);
}

}  // namespace

Result<void> CheckFits(const GenerateRequest& request, const memory::KvCache& kv) {
  if (request.tenant >= kv.tenants().size()) {
    return MakeError(ErrorCode::kInvalidArgument, fmt::format("there is no tenant {}", request.tenant));
  }
  const auto prompt = static_cast<int64_t>(request.prompt.size());
  const int64_t most = prompt + std::max<int64_t>(0, request.stop.max_tokens - 1);
  const int64_t room = kv.RoomOf(request.tenant, kv.Stats().budget_pages) * kv.geometry().tokens_per_page;
  if (most > room) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("the request may need {} tokens of KV cache ({} in the prompt), which holds {}{}",
                                 most, prompt, room, kv.tenants().size() > 1 ? " for this tenant" : ""),
                     prompt > room ? "prompt" : "max_tokens");
  }
  return {};
}

Scheduler::Scheduler(const SchedulerOptions& options, memory::KvCache& kv) : options_(options), kv_(kv) {
  CHECK(options.max_num_seqs > 0 && options.max_num_batched_tokens > 0);
  CHECK(options.max_prefill_stall_steps > 0 && options.max_model_len > 0);
}

// ---- Coming and going ------------------------------------------------------------------------------

void Scheduler::Add(RequestKey key, GenerateRequest params, Instant now) {
  auto fits = CheckFits(params, kv_);  // the cache may have shrunk since the request was looked at
  const auto [place, is_new] = requests_.try_emplace(key);
  CHECK(is_new);
  Request& request = place->second;
  request.key = key;
  request.params = std::move(params);
  request.first_id = next_id_;
  request.unfinished = request.params.n;
  const bool switched = options_.kv_switch_length > 0 &&
                        request.prompt_size() + request.params.stop.max_tokens > options_.kv_switch_length;
  if (fits.ok()) {
    fits = CheckQuota(request, 0);
  }
  const Adapter* const adapter = request.params.adapter.get();
  const KvScope scope{request.params.cache_salt, request.params.tenant, switched,
                      adapter != nullptr ? adapter->digest() : Digest{}};
  request.prefix_root = kv_.PrefixRoot(PrefixScope(kv_, scope));
  const Instant arrival = std::min(request.params.arrival, now);
  const int n = request.params.n;
  for (int index = 0; index < n; ++index) {  // a request that does not fit is gone after its last sequence
    const SequenceId id = next_id_++;
    Sequence& sequence = sequences_[id];
    sequence.id = id;
    sequence.request = &request;
    sequence.index = index;
    sequence.precedence = PrecedenceOf(arrival, request.params.priority, id, options_.ageing);
    sequence.tokens = request.params.prompt;
    sequence.end_ids = EndIdsOf(request.params.stop);
    sequence.times = {request.params.arrival, kNever, kNever, kNever};
    next_deadline_ = std::min(next_deadline_, DeadlineOf(sequence));
    EnterWaiting(sequence);
    if (!fits.ok()) {
      Finish(sequence, FinishReason::kError, -1, fits.error(), now);
    }
  }
}

void Scheduler::EnterWaiting(Sequence& sequence) {
  waiting_.insert(&sequence);
  waiting_tokens_ += sequence.size();
}

void Scheduler::LeaveWaiting(Sequence& sequence) {
  std::erase(restoring_, &sequence);
  CHECK(waiting_.erase(&sequence) == 1);
  waiting_tokens_ -= sequence.size();
}

void Scheduler::Cancel(RequestKey key, int index) {
  const auto request = requests_.find(key);
  if (request == requests_.end() || index >= request->second.params.n) {
    return;
  }
  const int first = std::max(index, 0);
  const int last = index < 0 ? request->second.params.n - 1 : index;
  for (int i = first; i <= last; ++i) {
    const auto sequence = sequences_.find(request->second.first_id + static_cast<SequenceId>(i));
    if (sequence != sequences_.end() && !std::exchange(sequence->second.cancelled, true)) {
      cancelled_.push_back(sequence->first);
    }
  }
}

void Scheduler::RemoveCancelled(Instant now) {
  for (const SequenceId id : cancelled_) {
    if (const auto it = sequences_.find(id); it != sequences_.end()) {
      Finish(it->second, FinishReason::kCancelled, -1, {}, now);
    }
  }
  cancelled_.clear();
}

void Scheduler::Expire(Instant now) {
  if (now < next_deadline_) {
    return;
  }
  next_deadline_ = kNever;
  for (auto it = sequences_.begin(); it != sequences_.end();) {
    Sequence& sequence = (it++)->second;  // Finish erases it
    const Instant deadline = DeadlineOf(sequence);
    if (now < deadline || deadline == kNever) {
      next_deadline_ = std::min(next_deadline_, deadline);
      continue;
    }
    const bool ran_out = now >= sequence.request->params.run_deadline;
    Finish(sequence, FinishReason::kError, -1,
           MakeError(ErrorCode::kDeadlineExceeded, ran_out ? "the request did not end by its run deadline"
                                                           : "the request did not start by its queue deadline"),
           now);
  }
}

void Scheduler::FailAll(const Error& error, Instant now) {
  plan_.rows.clear();
  planned_.clear();
  for (auto it = sequences_.begin(); it != sequences_.end();) {
    Finish((it++)->second, FinishReason::kError, -1, error, now);
  }
}

// Releases what the sequence holds and says so once.
void Scheduler::Finish(Sequence& sequence, FinishReason reason, Token stop_token, Error error, Instant now) {
  Request& request = *sequence.request;
  SchedulerEvent event;
  event.request = request.key;
  event.output.kind = OutputEvent::Kind::kFinish;
  event.output.index = sequence.index;
  event.output.finish = reason;
  event.output.stop_token = stop_token;
  event.output.error = std::move(error);
  event.output.prompt_tokens = request.prompt_size();
  event.output.cached_tokens = sequence.cached_tokens;
  event.output.output_tokens = sequence.output_size();
  event.output.preemptions = sequence.preemptions;
  event.output.times = sequence.times;
  event.output.times.finished = now;
  if (request.params.pin && sequence.index == 0 && (reason == FinishReason::kStop || reason == FinishReason::kLength)) {
    event.pin = PinOf(sequence, event.output.pin_error);
  }
  event.last = --request.unfinished == 0;
  events_.push_back(std::move(event));
  if (IsRunning(sequence)) {
    std::erase(running_, &sequence);
  } else {
    LeaveWaiting(sequence);
  }
  const bool last = request.unfinished == 0;
  const RequestKey key = request.key;
  sequences_.erase(sequence.id);
  if (last) {
    requests_.erase(key);
  }
}

// ---- Planning --------------------------------------------------------------------------------------

void Scheduler::Tick(Instant now) {
  RemoveCancelled(now);
  Expire(now);
}

const Plan& Scheduler::Next(Instant now) {
  Tick(now);
  kv_.Poll();
  for (Sequence* const sequence : running_) {
    RunningOf(*sequence).planned = 0;
  }
  budget_ = options_.max_num_batched_tokens;
  admitting_ = true;
  PlanStalledPrefills();
  PlanDecodes();
  PlanPrefills(now);
  CountStalls();
  BuildPlan();
  MapAhead();
  return plan_;
}

void Scheduler::Grant(Sequence& sequence, int64_t tokens) {
  CHECK(tokens >= 0 && tokens <= budget_ && tokens <= Remaining(sequence));
  RunningOf(sequence).planned += tokens;
  budget_ -= tokens;
}

// Together they take about half of the step at most, and one token each at least.
void Scheduler::PlanStalledPrefills() {
  candidates_.clear();
  for (Sequence* const sequence : running_) {
    if (!IsDecoding(*sequence) && RunningOf(*sequence).stalled + 1 >= options_.max_prefill_stall_steps) {
      candidates_.push_back(sequence);
    }
  }
  if (candidates_.empty()) {
    return;
  }
  std::sort(candidates_.begin(), candidates_.end(), StalledLonger);
  const auto count = static_cast<int64_t>(candidates_.size());
  const int64_t chunk = std::clamp<int64_t>(budget_ / 2 / count, 1, kStalledChunk);
  for (Sequence* const sequence : candidates_) {
    Grant(*sequence, std::min({chunk, budget_, Remaining(*sequence)}));
  }
}

void Scheduler::PlanDecodes() {
  candidates_.clear();  // a copy, because preemption changes running_
  for (Sequence* const sequence : running_) {
    if (IsDecoding(*sequence)) {
      candidates_.push_back(sequence);
    }
  }
  if (static_cast<int64_t>(candidates_.size()) > budget_) {  // not all this time: in turn
    std::sort(candidates_.begin(), candidates_.end(), StalledLonger);
  }
  for (Sequence* const sequence : candidates_) {
    if (budget_ == 0) {
      return;
    }
    // Not running: preempted a moment ago.
    if (IsRunning(*sequence) && EnsurePages(*sequence, sequence->size())) {
      Grant(*sequence, 1);
    }
  }
}

// Running prefills and newcomers, merged by precedence: a long, less important prefill is parked while
// others have the step. Pages of a running prefill were reserved when it was admitted.
void Scheduler::PlanPrefills(Instant now) {
  candidates_.clear();
  for (Sequence* const sequence : running_) {
    if (!IsDecoding(*sequence) && Remaining(*sequence) > 0) {
      candidates_.push_back(sequence);
    }
  }
  std::sort(candidates_.begin(), candidates_.end(), ByPrecedence());
  for (Sequence* const sequence : candidates_) {
    Admit(sequence, now);
    Grant(*sequence, std::min(budget_, Remaining(*sequence)));
  }
  Admit(nullptr, now);
}

// Starts those who wait, first come first served, as long as they go before `before` (null: all). Nobody overtakes the
// one who waits for pages; everybody may overtake those whose pages are being read from a tier.
void Scheduler::Admit(const Sequence* before, Instant now) {
  auto next = waiting_.begin();
  while (admitting_ && budget_ > 0 && running() < options_.max_num_seqs && next != waiting_.end()) {
    Sequence& sequence = **next++;
    if ((before != nullptr && before->precedence < sequence.precedence) || WaitsForSibling(sequence)) {
      return;
    }
    const Readiness readiness = AskTier(sequence);
    if (readiness == Readiness::kRestoring) {
      continue;
    }
    if (readiness == Readiness::kBlocked || !Start(sequence, now)) {
      admitting_ = false;
      return;
    }
    Grant(sequence, std::min(budget_, Remaining(sequence)));
  }
}

// Nobody runs, and pages are short: then others hold them who wait for theirs from a tier.
bool Scheduler::Start(Sequence& sequence, Instant now) {
  return TryStart(sequence, now) || (running_.empty() && DropRestores(&sequence) && TryStart(sequence, now));
}

bool Scheduler::TryStart(Sequence& sequence, Instant now) {
  const memory::TenantId tenant = sequence.request->params.tenant;
  const int64_t growing = GrowingSequences();
  if (!kv_.CanReserve(growing, tenant)) {
    return false;
  }
  const memory::PrefixQuery query = KnownPrefix(sequence);
  auto span = kv_.CreateSpan(sequence.size(), query);
  if (!span.ok()) {
    return false;
  }
  Running state;
  state.span = std::move(span).value();
  const int64_t known_pages = state.span.sealed_pages();
  if (!kv_.CanReserve(kv_.geometry().PagesFor(sequence.size()) - known_pages + growing, tenant) ||
      !kv_.Reserve(state.span, sequence.size()).ok()) {
    return false;  // the span parks again; the sequence waits on
  }
  state.segments = state.span.segments();
  state.computed = known_pages * kv_.geometry().tokens_per_page;
  TakePartialPage(sequence, state);
  if (!sequence.started()) {
    sequence.cached_tokens = state.computed;
    CountPrefix(sequence, query, state.computed);
  }
  LeaveWaiting(sequence);
  sequence.state = std::move(state);
  const int64_t most = sequence.request->most_positions();
  sequence.tokens.reserve(static_cast<size_t>(most) + 1);
  sequence.prefix_keys.reserve(static_cast<size_t>(kv_.geometry().PagesFor(most)));
  if (!sequence.started()) {
    sequence.times.scheduled = now;
  }
  running_.push_back(&sequence);
  return true;
}

// Running sequences that may need another page. One page each is kept back from newcomers, who would
// otherwise be preempted soon after they came. Nobody runs, nothing is kept: anyone gets in then.
int64_t Scheduler::GrowingSequences() const {
  return std::count_if(running_.begin(), running_.end(), [](const Sequence* sequence) {
    return RunningOf(*sequence).span.capacity_positions() < sequence->request->most_positions();
  });
}

// Makes room for `positions`, preempting others if it must, or the sequence itself as the last resort.
bool Scheduler::EnsurePages(Sequence& sequence, int64_t positions) {
  while (true) {
    Running& state = RunningOf(sequence);
    const auto reserved = kv_.Reserve(state.span, positions);
    if (reserved.ok()) {
      state.segments = state.span.segments();
      return true;
    }
    // Only a want of pages is helped by other people's pages; first by those of sequences that do not run yet.
    if (reserved.error().code == ErrorCode::kResourceExhausted && DropRestores(nullptr)) {
      continue;
    }
    Sequence* const victim = reserved.error().code == ErrorCode::kResourceExhausted
                                 ? *std::max_element(running_.begin(), running_.end(), ByPrecedence())
                                 : &sequence;
    Preempt(*victim);
    if (victim == &sequence) {
      return false;
    }
  }
}

void Scheduler::Preempt(Sequence& victim) {
  budget_ += RunningOf(victim).planned;
  std::erase(running_, &victim);
  victim.state = Waiting{};  // the span parks; its pages are free to take
  ++victim.preemptions;
  ++preemptions_;
  admitting_ = false;  // pages are short: nobody comes in this step
  EnterWaiting(victim);
}

void Scheduler::CountStalls() {
  for (Sequence* const sequence : running_) {
    Running& state = RunningOf(*sequence);
    state.stalled = state.planned > 0 ? 0 : state.stalled + 1;
  }
}

// Rows of one token first: executors see the cheap rows together.
void Scheduler::BuildPlan() {
  planned_.clear();
  for (const bool single : {true, false}) {
    for (Sequence* const sequence : running_) {
      const int64_t tokens = RunningOf(*sequence).planned;
      if (tokens > 0 && (tokens == 1) == single) {
        planned_.push_back(sequence);
      }
    }
  }
  ++plan_.step;
  plan_.rows.resize(planned_.size());
  for (size_t i = 0; i < planned_.size(); ++i) {
    FillRow(*planned_[i], plan_.rows[i]);
  }
  GroupRows();
  plan_.total_tokens = options_.max_num_batched_tokens - budget_;
}

void Scheduler::FillRow(const Sequence& sequence, PlanRow& row) const {
  const Request& request = *sequence.request;
  const StopParams& stop = request.params.stop;
  const Running& state = RunningOf(sequence);
  const std::span<const Token> tokens(sequence.tokens);
  const auto prompt = static_cast<size_t>(request.prompt_size());
  const int64_t output = sequence.output_size();
  row.sequence = sequence.id;
  row.tokens = tokens.subspan(static_cast<size_t>(state.computed), static_cast<size_t>(state.planned));
  row.first_position = state.computed;
  row.segments = state.segments.list();
  row.sample = Remaining(sequence) == 0 && stop.max_tokens > output;
  row.sampling = &request.params.sampling;
  row.adapter = request.params.adapter.get();
  row.prompt = tokens.first(prompt);
  row.output = tokens.subspan(prompt);
  row.banned = output < stop.min_tokens ? std::span<const Token>(sequence.end_ids) : std::span<const Token>();
  row.stream = static_cast<uint64_t>(sequence.index);
  row.counter = static_cast<uint64_t>(sequence.size());
  row.length_limit = request.prompt_size() + stop.max_tokens;
  row.prompt_logprobs = WantsPromptScores(sequence) ? request.params.sampling.prompt_logprobs : -1;
}

// ---- Results ---------------------------------------------------------------------------------------

void Scheduler::Apply(const StepResult& result, Instant now) {
  CHECK(result.rows.size() == planned_.size());
  for (size_t i = 0; i < planned_.size(); ++i) {
    Sequence& sequence = *planned_[i];
    const RowResult& row = result.rows[i];
    CHECK(row.sequence == sequence.id && row.sampled == plan_.rows[i].sample);
    Running& state = RunningOf(sequence);
    state.computed += std::exchange(state.planned, 0);
    PublishPages(sequence);
    EmitPromptScores(sequence, row);
    if (row.sampled) {
      AppendToken(sequence, row, now);
    } else if (state.computed == sequence.size()) {
      Finish(sequence, FinishReason::kLength, -1, {}, now);  // max_tokens 0: the prompt was all
    }
  }
  plan_.rows.clear();
  planned_.clear();
}

void Scheduler::ApplyFailure(const Error& error, Instant now) {
  for (Sequence* const sequence : planned_) {
    Finish(*sequence, FinishReason::kError, -1, error, now);
  }
  plan_.rows.clear();
  planned_.clear();
}

void Scheduler::EmitPromptScores(Sequence& sequence, const RowResult& row) {
  if (!WantsPromptScores(sequence)) {
    return;
  }
  const auto emit = [&](int64_t position, bool scored, float logprob, std::vector<TokenLogprob> top) {
    SchedulerEvent event;
    event.request = sequence.request->key;
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
  const Request& request = *sequence.request;
  sequence.tokens.push_back(row.token);
  if (sequence.times.first_token == kNever) {
    sequence.times.first_token = now;
  }
  SchedulerEvent event;
  event.request = sequence.request->key;
  event.output.kind = OutputEvent::Kind::kToken;
  event.output.index = sequence.index;
  event.output.token = row.token;
  event.output.has_logprob = request.params.sampling.logprobs >= 0;
  event.output.logprob = row.logprob;
  event.output.top = row.top;
  event.output.times = sequence.times;
  event.output.cached_tokens = sequence.cached_tokens;
  events_.push_back(std::move(event));
  const int64_t output = sequence.output_size();
  const bool ends = output >= request.params.stop.min_tokens &&
                    std::find(sequence.end_ids.begin(), sequence.end_ids.end(), row.token) != sequence.end_ids.end();
  if (ends) {
    Finish(sequence, FinishReason::kStop, row.token, {}, now);
  } else if (output >= request.params.stop.max_tokens || sequence.size() >= options_.max_model_len) {
    Finish(sequence, FinishReason::kLength, -1, {}, now);
  }
}

void Scheduler::TakeEvents(std::vector<SchedulerEvent>& events) {
  if (events.empty()) {
    events.swap(events_);  // both keep their capacity
    return;
  }
  std::move(events_.begin(), events_.end(), std::back_inserter(events));
  events_.clear();
}

// ---- Figures ---------------------------------------------------------------------------------------

int64_t Scheduler::backlog_tokens() const {
  int64_t tokens = waiting_tokens_;
  for (const Sequence* const sequence : running_) {
    tokens += sequence->size() - RunningOf(*sequence).computed - 1;  // the last one is its next decode
  }
  return tokens;
}

void Scheduler::CheckInvariants() const {
  CHECK(waiting() + running() == static_cast<int64_t>(sequences_.size()));
  CHECK(running() <= options_.max_num_seqs);
  CHECK(plan_.rows.size() == planned_.size());
  int64_t unfinished = 0;
  for (const auto& [key, request] : requests_) {
    CHECK(request.key == key && request.unfinished > 0 && request.unfinished <= request.params.n);
    unfinished += request.unfinished;
  }
  CHECK(unfinished == static_cast<int64_t>(sequences_.size()));
  int64_t waiting_tokens = 0;
  int64_t restoring = 0;
  for (Sequence* const sequence : waiting_) {
    CHECK(!IsRunning(*sequence) && sequences_.contains(sequence->id));
    restoring += WaitingOf(*sequence).restoring.has_value() ? 1 : 0;
    CHECK(next_deadline_ <= DeadlineOf(*sequence));
    waiting_tokens += sequence->size();
  }
  CHECK(waiting_tokens == waiting_tokens_ && restoring == std::ssize(restoring_));
  int64_t pages = 0;
  int64_t unshared_pages = 0;
  for (const Sequence* const sequence : running_) {
    const Running& state = RunningOf(*sequence);
    CHECK(state.computed >= 0 && state.computed + state.planned <= sequence->size());
    const auto segments = state.segments.list();
    CHECK(segments[0].base == state.span.base());
    CHECK(segments.back().first_position + segments.back().positions == state.span.capacity_positions());
    CHECK(state.span.capacity_positions() >= state.computed);
    CHECK(next_deadline_ <= DeadlineOf(*sequence));
    pages += kv_.geometry().PagesFor(state.span.capacity_positions());
    unshared_pages += kv_.geometry().PagesFor(state.span.capacity_positions()) - state.span.sealed_pages();
  }
  const int64_t live = kv_.Stats().live_pages;
  CHECK_MSG(unshared_pages <= live && live <= pages, "{} pages are held, {} of them alone, and {} counted", pages,
            unshared_pages, live);
  CheckGroups();
  kv_.CheckInvariants();
}

}  // namespace causeway::scheduler
