// causeway generate: one prompt to stdout, streamed.
#include <condition_variable>
#include <iostream>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <unistd.h>
#include <CLI/CLI.hpp>
#include "base/json.h"
#include "base/log.h"
#include "fmt/format.h"

#include "server/api/generation.h"
#include "server/cli/commands.h"
#include "server/cli/support.h"
#include "server/cli/wired_server.h"
#include "server/config/flags.h"

namespace causeway::server {
namespace {

constexpr size_t kMaxPromptBytes = 64 << 20;
constexpr const char* kAdapterName = "--lora";

struct GenerateOptions {
  std::string prompt;
  std::string system;
  std::string lora;
  std::vector<std::string> stop;
  bool chat = false;
  bool json = false;
  int64_t max_tokens = 256;
  std::optional<int64_t> seed;
};

struct Answer {
  std::string text;
  FinishKind finish = FinishKind::kStop;
  Usage usage;
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
  call.sampling.stop = options.stop;
  call.arrival = Clock::now();
  if (options.chat) {
    ChatPrompt chat;
    chat.messages = OrderedJson::array();
    if (!options.system.empty()) {
      chat.messages.push_back({{"role", "system"}, {"content", options.system}});
    }
    chat.messages.push_back({{"role", "user"}, {"content", options.prompt}});
    call.prompt = std::move(chat);
  } else {
    call.prompt = options.prompt;
  }
  return call;
}

// The answer, written to standard output while it comes unless it is wanted as JSON.
Result<Answer> Generate(const Options& settings, const GenerateOptions& options) {
  TRY(SetUpLog({.level = "warning", .format = LogFormat::kText}));
  ASSIGN_OR_RETURN(const auto server, Wire(settings));
  BlockingWaker waker;
  GenerateCall call = MakeCall(options);
  if (!options.lora.empty()) {
    TRY(server->adapters->Load(kAdapterName, LoraPath(options.lora), false));
    call.adapter = server->adapters->Find(kAdapterName);
  }
  const auto generation = Generation::Start(*server->app, std::move(call), waker);
  std::vector<GenerationEvent> events;
  Answer answer;
  while (true) {
    waker.Wait();
    events.clear();
    generation->Poll(events);
    for (const GenerationEvent& event : events) {
      switch (event.kind) {
        case GenerationEvent::Kind::kStarted: break;
        case GenerationEvent::Kind::kDelta:
          answer.text += event.text;
          std::cout << (options.json ? "" : event.text) << std::flush;
          break;
        case GenerationEvent::Kind::kSequenceDone: answer.finish = event.finish; break;
        case GenerationEvent::Kind::kFailed: return event.error;
        case GenerationEvent::Kind::kDone: answer.usage = event.usage; return answer;
      }
    }
  }
}

int Run(const Options& settings, const GenerateOptions& options) {
  const auto answer = Generate(settings, options);
  if (!answer.ok()) {
    std::cout << std::flush;
    return PrintError(answer.error());
  }
  if (options.json) {
    std::cout << DumpJson(OrderedJson{{"text", answer->text},
                                      {"finish_reason", answer->finish == FinishKind::kStop ? "stop" : "length"},
                                      {"prompt_tokens", answer->usage.prompt_tokens},
                                      {"completion_tokens", answer->usage.completion_tokens}});
  }
  std::cout << '\n';
  return 0;
}

// What is piped in, without the line end that echo and editors add.
Result<std::string> ReadPrompt() {
  if (isatty(STDIN_FILENO) == 1) {
    std::cerr << "causeway: reading the prompt from standard input; end it with ctrl-D\n";
  }
  std::string prompt(std::istreambuf_iterator<char>(std::cin), {});
  if (prompt.size() > kMaxPromptBytes) {
    return MakeError(ErrorCode::kTooLarge,
                     fmt::format("the prompt has {} bytes, over {}", prompt.size(), kMaxPromptBytes));
  }
  if (prompt.ends_with('\n')) {
    prompt.pop_back();
  }
  return prompt;
}

}  // namespace

void AddGenerate(CLI::App& root, int& exit_code) {
  CLI::App* const command = root.add_subcommand("generate", "Answer one prompt on standard output");
  auto options = std::make_shared<GenerateOptions>();
  auto flags = std::make_shared<OptionFlags>(
      *command, std::initializer_list<OptionGroup>{OptionGroup::kModel, OptionGroup::kAnswers, OptionGroup::kMachine});
  command->add_option("PROMPT,--prompt", options->prompt, "The prompt; without it, standard input");
  command->add_flag("--chat", options->chat, "Put the prompt into the model's chat template");
  command->add_option("--system", options->system, "With --chat: a system message before it");
  command->add_option("--max-tokens", options->max_tokens, "Tokens at most")
      ->check(CLI::Range(0, 1 << 24))
      ->capture_default_str();
  command->add_option("--stop", options->stop, "End the answer before this text; may be given several times")
      ->allow_extra_args(false);
  command->add_option("--seed", options->seed, "Repeat the same answer");
  command->add_option("--lora", options->lora, fmt::format("Answer with this LoRA adapter: {}", kLoraPlaces));
  command->add_flag("--json", options->json, "Print text, finish_reason and token counts as JSON");
  command->footer(
      "Examples:\n  causeway generate \"Once upon a time\" --max-tokens 64\n"
      "  causeway generate --chat \"Tell me a story.\" --temperature 0");
  command->callback([command, options, flags, &exit_code] {
    auto settings = flags->Resolve();
    if (!settings.ok()) {
      exit_code = 2;
      return;
    }
    if (!options->system.empty() && !options->chat) {
      std::cerr << "causeway generate: --system goes with --chat\n";
      exit_code = 2;
      return;
    }
    if (command->count("--prompt") == 0) {
      auto prompt = ReadPrompt();
      if (!prompt.ok()) {
        exit_code = PrintError(prompt.error());
        return;
      }
      options->prompt = std::move(prompt).value();
    }
    settings->options.max_num_seqs = 1;
    exit_code = Run(settings->options, *options);
  });
}

}  // namespace causeway::server
