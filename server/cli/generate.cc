// causeway generate: one prompt to stdout, streamed.
#include <condition_variable>
#include <iostream>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "base/log.h"
#include "server/api/generation.h"
#include "server/cli/commands.h"
#include "server/cli/support.h"
#include "server/cli/wired_server.h"
#include "server/config/flags.h"

namespace causeway::server {
namespace {

struct GenerateOptions {
  std::string prompt;
  bool chat = false;
  int64_t max_tokens = 256;
  std::optional<int64_t> seed;
};

class BlockingWaker final : public scheduler::Waker {
 public:
  void Wake() noexcept override {
    {
      const std::lock_guard lock(mutex_);
      awake_ = true;
    }
    condition_.notify_one();
  }
  void Wait() {
    std::unique_lock lock(mutex_);
    condition_.wait(lock, [this] { return awake_; });
    awake_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable condition_;
  bool awake_ = false;  // guarded by mutex_
};

GenerateCall MakeCall(const GenerateOptions& options) {
  GenerateCall call;
  call.sampling.max_tokens = options.max_tokens;
  call.sampling.seed = options.seed;
  call.arrival = Clock::now();
  if (options.chat) {
    ChatPrompt chat;
    chat.messages = OrderedJson::array({{{"role", "user"}, {"content", options.prompt}}});
    call.prompt = std::move(chat);
  } else {
    call.prompt = options.prompt;
  }
  return call;
}

Result<void> Generate(const Options& settings, const GenerateOptions& options) {
  TRY(SetUpLog({.level = "warning", .format = LogFormat::kText}));
  ASSIGN_OR_RETURN(const auto server, Wire(settings));
  BlockingWaker waker;
  const auto generation = Generation::Start(*server->app, MakeCall(options), waker);
  std::vector<GenerationEvent> events;
  while (true) {
    waker.Wait();
    events.clear();
    generation->Poll(events);
    for (const GenerationEvent& event : events) {
      if (event.kind == GenerationEvent::Kind::kDelta) {
        std::cout << event.text << std::flush;
      } else if (event.kind == GenerationEvent::Kind::kFailed) {
        return event.error;
      } else if (event.kind == GenerationEvent::Kind::kDone) {
        std::cout << '\n';
        return {};
      }
    }
  }
}

}  // namespace

void AddGenerate(CLI::App& root, int& exit_code) {
  CLI::App* const command = root.add_subcommand("generate", "Answer one prompt on standard output");
  auto options = std::make_shared<GenerateOptions>();
  auto flags = std::make_shared<OptionFlags>(
      *command, std::initializer_list<OptionGroup>{OptionGroup::kModel, OptionGroup::kAnswers, OptionGroup::kMachine});
  command->add_option("--prompt", options->prompt, "The prompt; without it, standard input");
  command->add_flag("--chat", options->chat, "Put the prompt into the model's chat template");
  command->add_option("--max-tokens", options->max_tokens, "Tokens at most")->capture_default_str();
  command->add_option("--seed", options->seed, "Repeat the same answer");
  command->callback([command, options, flags, &exit_code] {
    auto settings = flags->Resolve();
    if (!settings.ok()) {
      exit_code = 2;
      return;
    }
    if (command->count("--prompt") == 0) {
      options->prompt.assign(std::istreambuf_iterator<char>(std::cin), {});
    }
    settings->options.max_num_seqs = 1;
    if (const auto done = Generate(settings->options, *options); !done.ok()) {
      exit_code = PrintError(done.error());
    }
  });
}

}  // namespace causeway::server
