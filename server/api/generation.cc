#include "server/api/generation.h"

#include <algorithm>
#include <mutex>
#include <random>

#include "fmt/format.h"
#include "model/tokenizer/incremental_detokenizer.h"
#include "model/tokenizer/tokenizer.h"
#include "server/api/adapters.h"
#include "server/api/app.h"
#include "server/api/prompt.h"
#include "server/api/states.h"
#include "server/api/stop_matcher.h"
#include "server/api/text_workers.h"
#include "server/metrics/metrics.h"

namespace causeway::server {
namespace {

using model::IncrementalDetokenizer;
using scheduler::OutputEvent;

uint64_t RandomSeed() {
  thread_local std::mt19937_64 generator{std::random_device{}()};
  return generator();
}

// One of the n answers on its way to text.
struct SequenceText {
  std::unique_ptr<IncrementalDetokenizer> detokenizer;  // null without a tokenizer: ids only
  StopMatcher stops;
  std::vector<TokenInfo> pending;  // tokens whose text is not out yet
  int64_t tokens = 0;
  bool done = false;
  Instant last_token = kNever;
  scheduler::RequestTimes times;  // as far as known
};

}  // namespace

struct Generation::State final : scheduler::Waker, std::enable_shared_from_this<Generation::State> {
  State(App& app_ref, GenerateCall call_value, scheduler::Waker& waker)
      : app(app_ref), call(std::move(call_value)), reader(&waker) {}

  // ---- Text worker ---------------------------------------------------------------------------------

  void Prepare() {
    const Result<void> started = Submit();
    {
      const std::lock_guard lock(mutex);
      if (!started.ok()) {
        failure = started.error();
      }
      prepared = true;
    }
    Wake();
  }

  Result<void> Submit() {
    if (Closed()) {
      return MakeError(ErrorCode::kCancelled, "the client went away");
    }
    const Instant now = Clock::now();
    if (!call.state.empty()) {
      ASSIGN_OR_RETURN(state, app.states.Use(call.tenant, call.state, now));
    }
    if (call.save) {
      TRY(app.states.CheckPut(call.tenant, call.save->name, call.save->overwrite, now));
    }
    ASSIGN_OR_RETURN(scheduler::GenerateRequest request, MakeRequest(app, call, state.get()));
    cache_salt = request.cache_salt;
    if (!call.sampling.seed) {
      request.sampling.seed = RandomSeed();
    }
    n = request.n;
    max_tokens = request.stop.max_tokens;
    switched = IsSwitched(static_cast<int64_t>(request.prompt.size()) + max_tokens);
    min_tokens = request.stop.min_tokens;
    prompt = request.prompt;
    adapter_use = AdapterUse(call.adapter);
    ASSIGN_OR_RETURN(scheduler::Ticket submitted, app.engine.Submit(std::move(request), *this));
    const std::lock_guard lock(mutex);
    ticket.emplace(std::move(submitted));
    return {};
  }

  // ---- Engine thread -------------------------------------------------------------------------------

  void Wake() noexcept override {
    const std::lock_guard lock(reader_mutex);
    if (reader != nullptr) {
      reader->Wake();
    }
  }

  bool Closed() {
    const std::lock_guard lock(reader_mutex);
    return reader == nullptr;
  }

  // ---- Reader --------------------------------------------------------------------------------------

  void Close() {
    {
      const std::lock_guard lock(reader_mutex);
      reader = nullptr;
    }
    if (sequences.empty() && HasTicket()) {
      MakeSequences();  // gone before its first token: it counts as well
    }
    for (size_t i = 0; i < sequences.size() && !ended; ++i) {
      if (!sequences[i].done) {
        Observe(sequences[i], static_cast<int>(i), "abort");
      }
    }
    // The worker may still be about to submit; whoever comes last drops the ticket with the state.
    std::optional<scheduler::Ticket> dropped;
    const std::lock_guard lock(mutex);
    dropped.swap(ticket);
  }

  bool HasTicket() {
    const std::lock_guard lock(mutex);
    return ticket.has_value();
  }

  void Poll(std::vector<GenerationEvent>& events) {
    {
      const std::lock_guard lock(mutex);
      if (!prepared || ended) {
        return;
      }
      if (failure) {
        Fail(*failure, events);
        return;
      }
      if (!ticket) {
        return;
      }
    }
    outputs.clear();
    ticket->Read(outputs);
    if (saving) {
      return TakeKept(events);
    }
    if (sequences.empty()) {
      MakeSequences();
    }
    for (OutputEvent& output : outputs) {
      if (ended) {
        return;
      }
      TakeOutput(output, events);
    }
  }

  void MakeSequences() {
    for (int i = 0; i < n; ++i) {
      sequences.push_back({nullptr,
                           StopMatcher(call.sampling.stop, call.sampling.include_stop_str_in_output),
                           {},
                           0,
                           false,
                           kNever,
                           {call.arrival, kNever, kNever, kNever}});
      if (app.model.tokenizer != nullptr) {
        sequences.back().detokenizer =
            std::make_unique<IncrementalDetokenizer>(*app.model.tokenizer, call.sampling.skip_special_tokens, prompt);
      }
    }
  }

  void Start(std::vector<GenerationEvent>& events) {
    if (started) {
      return;
    }
    started = true;
    GenerationEvent event;
    event.kind = GenerationEvent::Kind::kStarted;
    event.usage.prompt_tokens = static_cast<int64_t>(prompt.size());
    event.prompt = std::move(prompt_infos);
    if (call.echo) {
      event.text = EchoText();
    }
    events.push_back(std::move(event));
  }

  std::string EchoText() const {
    if (const auto* const text = std::get_if<std::string>(&call.prompt)) {
      return *text;
    }
    return app.model.tokenizer != nullptr ? app.model.tokenizer->Decode(prompt, call.sampling.skip_special_tokens)
                                          : std::string();
  }

  TokenInfo InfoOf(const OutputEvent& output) const {
    const auto text_of = [&](Token token) {
      return app.model.tokenizer != nullptr ? app.model.tokenizer->TokenText(token) : std::string();
    };
    TokenInfo info{output.token, text_of(output.token), output.has_logprob, output.logprob, true, {}};
    info.in_text = !call.sampling.skip_special_tokens || app.model.tokenizer == nullptr ||
                   !app.model.tokenizer->IsSpecial(output.token);
    for (const scheduler::TokenLogprob& other : output.top) {
      info.top.push_back({other.token, text_of(other.token), other.logprob});
    }
    return info;
  }

  void TakeOutput(OutputEvent& output, std::vector<GenerationEvent>& events) {
    switch (output.kind) {
      case OutputEvent::Kind::kPromptToken: prompt_infos.push_back(InfoOf(output)); return;
      case OutputEvent::Kind::kToken: Start(events); return TakeToken(output, events);
      case OutputEvent::Kind::kFinish: return TakeFinish(output, events);
    }
  }

  void TakeToken(const OutputEvent& output, std::vector<GenerationEvent>& events) {
    SequenceText& sequence = sequences[static_cast<size_t>(output.index)];
    if (sequence.done) {
      return;  // tokens behind a stop string that the engine drew before it heard of it
    }
    adapter_use.Run();
    ObserveToken(sequence, output);
    CountCached(output);
    ++sequence.tokens;
    if (call.save) {
      answer_tokens.push_back(output.token);
    }
    sequence.pending.push_back(InfoOf(output));
    std::string text;
    if (sequence.detokenizer != nullptr) {
      text = sequence.detokenizer->Append(output.token);
    }
    if (sequence.tokens > min_tokens) {
      text = sequence.stops.Append(text);
    }
    if (sequence.stops.matched()) {
      Emit(output.index, std::move(text), events);
      ticket->CancelSequence(output.index);
      EndSequence(output.index, FinishKind::kStop, *sequence.stops.matched(), events);
    } else if (!text.empty() || sequence.detokenizer == nullptr) {
      Emit(output.index, std::move(text), events);
    }
  }

  // Of the first sequence: the others find the prompt that it computed.
  void CountCached(const OutputEvent& output) {
    if (output.index == 0) {
      usage.cached_tokens = output.cached_tokens;
    }
  }

  void ObserveToken(SequenceText& sequence, const OutputEvent& output) {
    sequence.times = output.times;
    const Instant now = Clock::now();
    if (sequence.last_token == kNever) {
      app.metrics.ObserveTimeToFirstToken(ToSeconds(now - call.arrival));
    } else {
      app.metrics.ObserveInterTokenLatency(ToSeconds(now - sequence.last_token));
    }
    sequence.last_token = now;
  }

  void Emit(int index, std::string text, std::vector<GenerationEvent>& events) {
    SequenceText& sequence = sequences[static_cast<size_t>(index)];
    GenerationEvent event;
    event.kind = GenerationEvent::Kind::kDelta;
    event.index = index;
    if (call.save) {
      answer_text += text;
    }
    event.text = std::move(text);
    event.tokens = std::move(sequence.pending);
    sequence.pending.clear();
    events.push_back(std::move(event));
  }

  void TakeFinish(const OutputEvent& output, std::vector<GenerationEvent>& events) {
    SequenceText& sequence = sequences[static_cast<size_t>(output.index)];
    if (sequence.done) {
      return;  // a stop string ended it before
    }
    sequence.times = output.times;
    if (output.finish == scheduler::FinishReason::kError || output.finish == scheduler::FinishReason::kCancelled) {
      Fail(output.finish == scheduler::FinishReason::kError
               ? output.error
               : MakeError(ErrorCode::kCancelled, "the request was cancelled"),
           events);
      return;
    }
    Start(events);
    CountCached(output);
    const bool ended_by_stop = output.finish == scheduler::FinishReason::kStop;
    std::string text = FlushText(sequence);
    if (!text.empty() || !sequence.pending.empty()) {
      Emit(output.index, std::move(text), events);
    }
    if (call.save) {
      saved = Store(output);
    }
    std::variant<std::monostate, std::string, Token> reason;
    const auto& wanted = call.sampling.stop_token_ids;
    if (std::find(wanted.begin(), wanted.end(), output.stop_token) != wanted.end()) {
      reason = output.stop_token;
    }
    if (sequence.stops.matched()) {
      EndSequence(output.index, FinishKind::kStop, *sequence.stops.matched(), events);
    } else {
      EndSequence(output.index, ended_by_stop ? FinishKind::kStop : FinishKind::kLength, std::move(reason), events);
    }
  }

  // What was held back, now that no token follows.
  static std::string FlushText(SequenceText& sequence) {
    std::string text;
    if (sequence.detokenizer != nullptr) {
      text = sequence.stops.Append(sequence.detokenizer->Flush());
    }
    return text + sequence.stops.Flush();
  }

  void EndSequence(int index, FinishKind finish, std::variant<std::monostate, std::string, Token> reason,
                   std::vector<GenerationEvent>& events) {
    SequenceText& sequence = sequences[static_cast<size_t>(index)];
    Observe(sequence, index, finish == FinishKind::kStop ? "stop" : "length");
    sequence.done = true;
    usage.completion_tokens += sequence.tokens;
    GenerationEvent event;
    event.kind = GenerationEvent::Kind::kSequenceDone;
    event.index = index;
    event.finish = finish;
    event.stop_reason = std::move(reason);
    events.push_back(std::move(event));
    if (!std::all_of(sequences.begin(), sequences.end(), [](const SequenceText& s) { return s.done; })) {
      return;
    }
    if (call.save && !saved) {
      BeginSaving();
    }
    if (!saving) {
      FinishAll(events);
    }
  }

  void FinishAll(std::vector<GenerationEvent>& events) {
    GenerationEvent done;
    done.kind = GenerationEvent::Kind::kDone;
    usage.prompt_tokens = static_cast<int64_t>(prompt.size());
    done.usage = usage;
    done.saved = std::move(saved);
    events.push_back(std::move(done));
    adapter_use.End();
    ended = true;
  }

  // ---- The answer as a state

  bool IsSwitched(int64_t most_tokens) const { return app.kv_switch_length > 0 && most_tokens > app.kv_switch_length; }

  std::vector<Token> AllTokens() const {
    std::vector<Token> tokens = prompt;
    tokens.insert(tokens.end(), answer_tokens.begin(), answer_tokens.end());
    return tokens;
  }

  // A stop string ended the answer here, before the engine could. What was said up to it is submitted again: its pages
  // are still known.
  void BeginSaving() {
    scheduler::GenerateRequest request;
    request.id = call.request_id.substr(0, 128);
    request.prompt = AllTokens();
    request.stop.max_tokens = 0;
    request.cache_salt = cache_salt;
    request.tenant = call.tenant;
    request.adapter = AdapterOf(call);
    request.pin = true;
    request.priority = call.priority;
    request.arrival = Clock::now();
    request.queue_deadline = request.arrival + app.server_limits.queue_timeout;
    request.run_deadline = std::min(call.deadline, request.arrival + app.server_limits.request_timeout);
    switched = IsSwitched(static_cast<int64_t>(request.prompt.size()));
    auto submitted = app.engine.Submit(std::move(request), *this);
    if (!submitted.ok()) {
      saved = submitted.error();
      return;
    }
    const std::lock_guard lock(mutex);
    ticket.emplace(std::move(submitted).value());
    saving = true;
  }

  void TakeKept(std::vector<GenerationEvent>& events) {
    for (const OutputEvent& output : outputs) {
      if (output.kind == OutputEvent::Kind::kFinish) {
        saved = Store(output);
        FinishAll(events);
        return;
      }
    }
  }

  Result<StateInfo> Store(const OutputEvent& finish) {
    if (finish.finish == scheduler::FinishReason::kError) {
      return finish.error;
    }
    if (finish.pinned == nullptr) {
      return finish.pin_error;
    }
    auto content = std::make_shared<const StateContent>(
        StateContent{AllTokens(), cache_salt, switched, Conversation(), finish.pinned, StateAdapterOf(call)});
    return app.states.Put(call.tenant, call.save->name, std::move(content),
                          {.ttl = call.save->ttl,
                           .overwrite = call.save->overwrite,
                           .keep_end = call.save->extends,
                           .expected = call.save->extends ? state : nullptr},
                          Clock::now());
  }

  // The messages with the answer among them; nothing where the answer is no message's text.
  std::optional<ChatPrompt> Conversation() const {
    auto chat = ConversationOf(call, state.get());
    if (!chat || answer_tokens.empty()) {
      return chat;
    }
    if (!call.sampling.skip_special_tokens || (!chat->continue_final_message && !chat->add_generation_prompt)) {
      return std::nullopt;
    }
    if (chat->continue_final_message) {
      auto& content = chat->messages.back()["content"];
      content = content.get<std::string>() + answer_text;
    } else {
      chat->messages.push_back({{"role", "assistant"}, {"content", answer_text}});
    }
    return chat;
  }

  void Fail(const Error& error, std::vector<GenerationEvent>& events) {
    app.metrics.CountRejected(ErrorCodeName(error.code));
    for (size_t i = 0; i < sequences.size(); ++i) {
      if (!sequences[i].done) {
        Observe(sequences[i], static_cast<int>(i), error.code == ErrorCode::kCancelled ? "abort" : "error");
      }
    }
    GenerationEvent event;
    event.kind = GenerationEvent::Kind::kFailed;
    event.error = error;
    events.push_back(std::move(event));
    adapter_use.End();
    ended = true;
  }

  // Once for each sequence, when it ends; the engine's own end of a sequence that a stop string cut comes later.
  void Observe(const SequenceText& sequence, int index, std::string_view reason) {
    scheduler::RequestTimes times = sequence.times;
    times.finished = Clock::now();
    app.metrics.ObserveFinished({.reason = reason,
                                 .first_of_request = index == 0,
                                 .prompt_tokens = static_cast<int64_t>(prompt.size()),
                                 .generation_tokens = sequence.tokens,
                                 .max_tokens = max_tokens,
                                 .n = n,
                                 .times = times});
  }

  // Constant after construction.
  App& app;
  const GenerateCall call;

  std::mutex reader_mutex;   // a leaf: nothing is locked under it but what the reader's Wake does
  scheduler::Waker* reader;  // guarded by reader_mutex; null once the reader is gone

  std::mutex mutex;
  bool prepared = false;                    // guarded by mutex
  std::optional<Error> failure;             // guarded by mutex
  std::optional<scheduler::Ticket> ticket;  // guarded by mutex until prepared, then the reader's

  // Written by the worker before `prepared`, then the reader's.
  int n = 1;
  int64_t max_tokens = 0;
  int64_t min_tokens = 0;
  std::vector<Token> prompt;
  std::shared_ptr<const StateContent> state;  // that the prompt is behind
  std::string cache_salt;
  bool switched = false;   // of the request that the state is kept from
  AdapterUse adapter_use;  // ends with the last event, or the state

  // The reader's.
  bool saving = false;               // the ticket is that of BeginSaving
  std::vector<Token> answer_tokens;  // with call.save
  std::string answer_text;
  std::optional<Result<StateInfo>> saved;
  std::vector<OutputEvent> outputs;
  std::vector<SequenceText> sequences;
  std::vector<TokenInfo> prompt_infos;
  Usage usage;
  bool started = false;
  bool ended = false;
};

Generation::Generation(std::shared_ptr<State> state) : state_(std::move(state)) {}
Generation::~Generation() { state_->Close(); }

std::unique_ptr<Generation> Generation::Start(App& app, GenerateCall call, scheduler::Waker& waker) {
  auto state = std::make_shared<State>(app, std::move(call), waker);
  auto generation = std::unique_ptr<Generation>(new Generation(state));  // NOLINT: private constructor
  if (!app.text_workers.Post([state] { state->Prepare(); })) {
    state->failure = MakeError(ErrorCode::kResourceExhausted, "too many prompts wait to be tokenized");
    state->prepared = true;
    waker.Wake();
  }
  return generation;
}

void Generation::Poll(std::vector<GenerationEvent>& events) { state_->Poll(events); }

}  // namespace causeway::server
