// Time to the first token of a long prompt, by a whole engine: when nobody has asked it before, and when the pages of
// all but its end are known.
#include <condition_variable>
#include <mutex>
#include <utility>

#include "memory/kv_cache.h"
#include "model/runner.h"
#include "scheduler/engine.h"
#include "server/cli/bench_kv/figures.h"

namespace causeway::server::bench_kv {
namespace {

constexpr int64_t kOwnTokens = 16;  // of a prompt, behind what is shared

class EventWaker final : public scheduler::Waker {
 public:
  void Wake() noexcept override {
    {
      const std::lock_guard lock(mutex_);
      woken_ = true;
    }
    changed_.notify_one();
  }
  void Wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return woken_; });
    woken_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false;
};

// Milliseconds from Submit to the first token. Returns when the request has ended.
Result<double> FirstToken(scheduler::Engine& engine, std::vector<Token> prompt) {
  scheduler::GenerateRequest request;
  request.prompt = std::move(prompt);
  request.sampling.temperature = 0;
  request.stop.max_tokens = 1;
  request.stop.ignore_eos = true;
  request.arrival = Clock::now();
  EventWaker waker;
  const Instant start = Clock::now();
  double first = 0;
  ASSIGN_OR_RETURN(scheduler::Ticket ticket, engine.Submit(std::move(request), waker));
  std::vector<scheduler::OutputEvent> events;
  while (true) {
    events.clear();
    ticket.Read(events);
    for (const scheduler::OutputEvent& event : events) {
      if (event.kind == scheduler::OutputEvent::Kind::kToken) {
        first = MillisecondsSince(start);
      } else if (event.kind == scheduler::OutputEvent::Kind::kFinish) {
        if (event.finish == scheduler::FinishReason::kError) {
          return event.error;
        }
        return first;
      }
    }
    if (events.empty()) {
      waker.Wait();
    }
  }
}

}  // namespace

Result<void> MeasureFirstToken(const FirstTokenSetup& setup, const Sizes& sizes, Figures& figures) {
  const int64_t length = sizes.prompt_tokens + kOwnTokens + 1;
  ASSIGN_OR_RETURN(const memory::KvGeometry geometry, memory::ChooseGeometry(setup.model.KvShape(2), 4096));
  const int64_t pages = (sizes.rounds + 2) * (geometry.PagesFor(length) + 1);
  ASSIGN_OR_RETURN(auto backend, memory::MakeLinuxBackend({geometry.page_bytes, pages}));
  ASSIGN_OR_RETURN(const auto cache, memory::KvCache::Create({.geometry = geometry,
                                                              .max_pages = pages,
                                                              .max_spans = 4,
                                                              .positions_per_span = length,
                                                              .prefix_key = RandomKey(),
                                                              .prefix_spelling = sizes.spelling},
                                                             std::move(backend)));
  model::Runner runner(
      setup.model, setup.ops, setup.pool,
      {.geometry = geometry, .kv_format = kernels::KvFormat::kF16, .max_batched_tokens = 512, .max_num_seqs = 4});
  scheduler::EngineOptions options;
  options.limits = {.vocab = setup.model.info.vocab, .max_model_len = length};
  options.max_num_seqs = 4;
  options.kv_switch_length = setup.model.KvSwitchLength();
  scheduler::Engine engine(options, *cache, runner);

  const auto prompt = [&](uint64_t shared, uint64_t own) {
    auto tokens = RandomTokens(9000 + shared, sizes.prompt_tokens, setup.model.info.vocab);
    const auto end = RandomTokens(19000 + own, kOwnTokens, setup.model.info.vocab);
    tokens.insert(tokens.end(), end.begin(), end.end());
    return tokens;
  };
  std::vector<double> cold, warm;
  const auto rounds = static_cast<uint64_t>(sizes.rounds);
  for (uint64_t round = 0; round <= rounds; ++round) {
    ASSIGN_OR_RETURN(const double first, FirstToken(engine, prompt(round, 2 * round)));
    ASSIGN_OR_RETURN(const double again, FirstToken(engine, prompt(round, 2 * round + 1)));
    if (round > 0) {  // the first one touches weights and pages
      cold.push_back(first);
      warm.push_back(again);
    }
  }
  figures.Set("ttft_4k_cold_ms", std::move(cold));
  figures.Set("ttft_4k_warm_ms", std::move(warm));
  return {};
}

}  // namespace causeway::server::bench_kv
