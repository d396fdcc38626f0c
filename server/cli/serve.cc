// causeway serve
#include <algorithm>
#include <csignal>
#include <iostream>
#include <memory>

#include <pthread.h>
#include <CLI/CLI.hpp>

#include "base/log.h"
#include "server/cli/commands.h"
#include "server/cli/reload.h"
#include "server/cli/support.h"
#include "server/cli/wired_server.h"
#include "server/config/derive.h"
#include "server/config/flags.h"
#include "server/grpc/grpc_server.h"
#include "server/http/http_server.h"

namespace causeway::server {
namespace {

// Signals are taken by sigtimedwait on the main thread; every thread made later inherits the mask.
sigset_t BlockSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGHUP);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  return set;
}

// For what is written already to reach its client.
constexpr Duration kFlushTime = std::chrono::seconds(2);
constexpr int kSummarySeconds = 10;

// One line for the last seconds, if there was work.
void LogSummary(const scheduler::EngineStats& before, const scheduler::EngineStats& now) {
  if (now.steps == before.steps && now.waiting == 0) {
    return;
  }
  const auto rate = [](uint64_t from, uint64_t to) { return static_cast<double>(to - from) / kSummarySeconds; };
  LOG_INFO("prompt {:.1f} tokens/s, output {:.1f} tokens/s, running {}, waiting {}, KV cache {:.1f} %, preempted {}",
           rate(before.prompt_tokens, now.prompt_tokens), rate(before.generation_tokens, now.generation_tokens),
           now.running, now.waiting, 100 * now.kv_usage, now.preemptions);
}

// The next of `signals`; sums up the work while waiting.
int WaitForSignal(const scheduler::Engine& engine, const sigset_t& signals) {
  constexpr timespec kInterval{kSummarySeconds, 0};
  scheduler::EngineStats last = engine.Stats();
  int signal = -1;
  while ((signal = sigtimedwait(&signals, nullptr, &kInterval)) < 0) {
    const scheduler::EngineStats now = engine.Stats();
    LogSummary(last, now);
    last = now;
  }
  return signal;
}

// Not ready, drain to the deadline, close. A second signal ends at once.
void ShutDown(WiredServer& server, HttpServer& http, GrpcServer* grpc, const sigset_t& signals) {
  const scheduler::EngineStats stats = server.engine->Stats();
  LOG_INFO("draining: {} running, {} waiting; new requests are refused; {} s at most, a second signal ends it now",
           stats.running, stats.waiting, ToSeconds(server.options.shutdown_timeout));
  server.app->lifecycle = Lifecycle::kDraining;
  if (grpc != nullptr) {
    grpc->SetServing(false);
  }
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);  // the default action of a second one
  server.engine->Drain(Clock::now() + server.options.shutdown_timeout);
  http.StopAccepting();
  server.engine->Stop();  // what is left ends with an error that its client still reads
  server.app->lifecycle = Lifecycle::kStopped;
  if (grpc != nullptr) {
    grpc->Stop();
  }
  http.Stop(kFlushTime);
  LOG_INFO("stopped");
}

Result<void> Serve(const OptionFlags& flags, const Resolution& settings) {
  const Options& options = settings.options;
  TRY(SetUpLog(ToLogOptions(options)));
  const sigset_t signals = BlockSignals();
  LOG_INFO("causeway {}: {}", CAUSEWAY_VERSION, DescribeSettings(settings));
  ASSIGN_OR_RETURN(const auto server, Wire(options));
  ASSIGN_OR_RETURN(
      const auto http,
      HttpServer::Start(*server->app, {.host = options.host,
                                       .port = static_cast<uint16_t>(options.port),
                                       .io_threads = static_cast<int>(std::max<int64_t>(1, options.io_threads))}));
  std::unique_ptr<GrpcServer> grpc;
  if (options.grpc) {
    ASSIGN_OR_RETURN(grpc, GrpcServer::Start(*server->app, {.host = options.host,
                                                            .port = static_cast<uint16_t>(options.grpc_port),
                                                            .max_message_bytes = options.grpc_max_message_size,
                                                            .max_streams = options.grpc_max_streams}));
    grpc->SetServing(true);
  }
  server->app->lifecycle = Lifecycle::kReady;
  LOG_INFO("serving {}: {} sequences at once, {} may wait, {}", fmt::join(server->app->served_names, ", "),
           options.max_num_seqs, options.max_queued_requests,
           server->app->api_keys.empty() ? "no API key is asked for" : "an API key is asked for");
  LOG_INFO("ready: http://{}:{}{}", options.host, http->port(),
           grpc != nullptr ? fmt::format(", grpc {}:{}", options.host, grpc->port()) : std::string());
  LOG_INFO(
      "try: curl http://localhost:{}/v1/chat/completions -d "
      "'{{\"messages\":[{{\"role\":\"user\",\"content\":\"Tell me a story.\"}}],\"max_tokens\":64}}'",
      http->port());
  Options running = options;
  while (WaitForSignal(*server->engine, signals) == SIGHUP) {
    Reload(flags, running);
  }
  ShutDown(*server, *http, grpc.get(), signals);
  return {};
}

}  // namespace

void AddServe(CLI::App& root, int& exit_code) {
  CLI::App* const command = root.add_subcommand("serve", "Serve a model over HTTP and gRPC");
  auto flags = std::make_shared<OptionFlags>(
      *command,
      std::initializer_list<OptionGroup>{OptionGroup::kModel, OptionGroup::kAnswers, OptionGroup::kMachine,
                                         OptionGroup::kScheduling, OptionGroup::kListening, OptionGroup::kLimits,
                                         OptionGroup::kLog, OptionGroup::kConfig},
      "model");
  auto dump = std::make_shared<bool>(false);
  command->add_flag("--dump-config", *dump, "Print a configuration file with every option, and exit");
  command->callback([flags, dump, &exit_code] {
    const auto settings = flags->Resolve();
    if (!settings.ok()) {
      exit_code = 2;
      return;
    }
    if (*dump) {
      std::cout << DumpConfig(settings->options);
      return;
    }
    if (const auto served = Serve(*flags, *settings); !served.ok()) {
      exit_code = PrintError(served.error());
    }
  });
}

}  // namespace causeway::server
