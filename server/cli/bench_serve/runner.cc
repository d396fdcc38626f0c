#include "server/cli/bench_serve/runner.h"

#include <algorithm>
#include <csignal>
#include <deque>
#include <utility>

#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/clock.h"
#include "server/cli/bench_serve/sse.h"

namespace causeway::server::bench {

namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr auto kProgressPeriod = std::chrono::milliseconds(250);

// One conversation under way; its turns run one after the other.
struct Active {
  Conversation conversation;
  size_t turn = 0;
  std::string text;               // completions: everything said so far
  Json messages = Json::array();  // chat: the same
  std::string answer;             // of the turn under way
  RequestRecord record;
  SseParser parser;
  bool done = false;  // [DONE] was seen
  int64_t chunks = 0;
};

class Runner {
 public:
  Runner(const RunOptions& options, const Workload& workload, const std::function<void(const Progress&)>& on_progress)
      : options_(options),
        workload_(workload),
        on_progress_(on_progress),
        planned_(workload.CountTurns(static_cast<uint64_t>(options.num_prompts))),
        arrivals_(options.arrivals, options.request_rate, options.seed),
        arrival_timer_(io_),
        progress_timer_(io_),
        signals_(io_, SIGINT, SIGTERM) {}

  Result<std::vector<RequestRecord>> Run() {
    ASSIGN_OR_RETURN(client_, HttpClient::Make(io_, options_.target, options_.timeout));
    start_ = Clock::now();
    next_arrival_ = arrivals_.Next();
    signals_.async_wait([this](error_code code, int) {
      if (!code) {
        io_.stop();
      }
    });
    ReportProgress();
    Pump();
    io_.run();
    Progress progress = Snapshot();
    progress.last = true;
    on_progress_(progress);
    return std::move(records_);
  }

 private:
  double Now() const { return ToSeconds(Clock::now() - start_); }

  bool MayStartMore() const {
    return started_ < static_cast<uint64_t>(options_.num_prompts) &&
           (options_.duration_s <= 0 || std::max(Now(), next_arrival_) < options_.duration_s);
  }

  // Starts what has arrived while there are free slots, then waits for the next arrival.
  void Pump() {
    while (MayStartMore() && HasSlot() && next_arrival_ <= Now()) {
      StartConversation();
      next_arrival_ = arrivals_.Next();
    }
    if (!MayStartMore() && active_ == 0) {
      signals_.cancel();
      progress_timer_.cancel();
      return;
    }
    if (MayStartMore() && HasSlot()) {
      arrival_timer_.expires_at(start_ +
                                std::chrono::duration_cast<Duration>(std::chrono::duration<double>(next_arrival_)));
      arrival_timer_.async_wait([this](error_code code) {
        if (!code) {
          Pump();
        }
      });
    }
  }

  bool HasSlot() const { return options_.concurrency == 0 || active_ < options_.concurrency; }

  void StartConversation() {
    auto active = std::make_shared<Active>();
    active->conversation = workload_.At(options_.first_conversation + started_++);
    ++active_;
    const std::string& prefix = active->conversation.prefix;
    if (!prefix.empty()) {
      active->text = prefix;
      active->messages.push_back({{"role", "system"}, {"content", prefix}});
    }
    // With a limit on concurrency a late start is the limit's doing, not the generator's.
    SendTurn(active, options_.concurrency == 0 ? std::max(0.0, Now() - next_arrival_) : 0.0);
  }

  Json RequestBody(Active& active) const {
    const Turn& turn = active.conversation.turns[active.turn];
    Json body = {{"model", options_.model},
                 {"max_tokens", turn.output_tokens},
                 {"temperature", options_.temperature},
                 {"stream", true},
                 {"stream_options", {{"include_usage", true}}}};
    if (options_.ignore_eos) {
      body["ignore_eos"] = true;
    }
    if (options_.chat) {
      active.messages.push_back({{"role", "user"}, {"content", turn.text}});
      body["messages"] = active.messages;
    } else {
      active.text += turn.text;
      body["prompt"] = active.text;
    }
    if (options_.extra_body.is_object()) {
      body.update(options_.extra_body);
    }
    return body;
  }

  void SendTurn(const std::shared_ptr<Active>& active, double lag) {
    active->answer.clear();
    active->parser = {};
    active->done = false;
    active->chunks = 0;
    active->record = {};
    const std::string body = DumpJson(RequestBody(*active));
    active->record.start = Now();
    active->record.lag = lag;
    client_->Post(
        options_.chat ? "/v1/chat/completions" : "/v1/completions", body,
        [this, active](std::string_view bytes) { OnBytes(*active, bytes); },
        [this, active](const StreamOutcome& outcome) { OnDone(active, outcome); });
  }

  void OnBytes(Active& active, std::string_view bytes) {
    std::vector<std::string> events;
    RequestRecord& record = active.record;
    const auto fed = active.parser.Feed(bytes, events);
    if (!fed.ok() && record.ok()) {
      SetError(record, "bad_stream", fed.error().message);
    }
    for (const std::string& event : events) {
      auto chunk = ParseChunk(event);
      if (!chunk.ok()) {
        SetError(record, "bad_stream", chunk.error().message);
        continue;
      }
      OnChunk(active, *chunk);
    }
  }

  static void SetError(RequestRecord& record, std::string kind, std::string message) {
    if (record.ok()) {
      record.error_kind = std::move(kind);
      record.error_message = std::move(message);
    }
  }

  void OnChunk(Active& active, const StreamChunk& chunk) {
    RequestRecord& record = active.record;
    active.done = active.done || chunk.done;
    if (!chunk.error.empty()) {
      SetError(record, "error_event", chunk.error);
    }
    if (chunk.has_usage) {
      record.prompt_tokens = chunk.prompt_tokens;
      record.cached_tokens = chunk.cached_tokens;
      record.output_tokens = chunk.output_tokens;
    }
    if (chunk.text.empty()) {
      return;
    }
    const double now = Now();
    if (active.chunks++ == 0) {
      record.first_text = now;
    } else {
      record.gaps.push_back(static_cast<float>(now - record.last_text));
    }
    record.last_text = now;
    active.answer += chunk.text;
    ++chunks_;
  }

  void OnDone(const std::shared_ptr<Active>& active, const StreamOutcome& outcome) {
    RequestRecord& record = active->record;
    record.end = Now();
    if (!outcome.error_kind.empty()) {
      SetError(record, outcome.error_kind, outcome.error_message);
    } else if (!active->done) {
      SetError(record, "truncated", "the stream ended without [DONE]");
    }
    if (active->chunks == 0) {  // nothing but tokens without text
      record.first_text = record.last_text = record.end;
    }
    if (record.output_tokens == 0) {
      record.output_tokens = active->chunks;  // a server without usage in streams
    }
    const bool ok = record.ok();
    failed_ += ok ? 0 : 1;
    records_.push_back(std::move(record));
    if (ok && ++active->turn < active->conversation.turns.size()) {
      active->text += active->answer;
      active->messages.push_back({{"role", "assistant"}, {"content", active->answer}});
      SendTurn(active, 0);
      return;
    }
    --active_;
    // Not from inside the callback of the connection that just became free.
    asio::post(io_, [this] { Pump(); });
  }

  Progress Snapshot() const {
    Progress progress;
    progress.planned = planned_;
    progress.finished = records_.size();
    progress.failed = failed_;
    progress.in_flight = static_cast<size_t>(active_);
    progress.chunks = chunks_;
    progress.seconds = Now();
    return progress;
  }

  void ReportProgress() {
    on_progress_(Snapshot());
    progress_timer_.expires_after(kProgressPeriod);
    progress_timer_.async_wait([this](error_code code) {
      if (!code) {
        ReportProgress();
      }
    });
  }

  const RunOptions& options_;
  const Workload& workload_;
  const std::function<void(const Progress&)>& on_progress_;
  const size_t planned_;  // requests, if all are answered
  asio::io_context io_{1};
  Arrivals arrivals_;
  asio::steady_timer arrival_timer_;
  asio::steady_timer progress_timer_;
  asio::signal_set signals_;
  std::unique_ptr<HttpClient> client_;
  Instant start_;
  double next_arrival_ = 0;
  uint64_t started_ = 0;
  int64_t active_ = 0;
  size_t failed_ = 0;
  int64_t chunks_ = 0;
  std::vector<RequestRecord> records_;
};

}  // namespace

Result<std::vector<RequestRecord>> Run(const RunOptions& options, const Workload& workload,
                                       const std::function<void(const Progress&)>& on_progress) {
  Runner runner(options, workload, on_progress);
  return runner.Run();
}

}  // namespace causeway::server::bench
