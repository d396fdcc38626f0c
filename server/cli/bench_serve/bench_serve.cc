#include "server/cli/bench_serve/bench_serve.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "base/log.h"
#include "server/cli/bench_serve/report.h"
#include "server/cli/bench_serve/runner.h"

namespace causeway::server {
namespace bench {
namespace {

constexpr auto kSetUpTimeout = std::chrono::seconds(30);
constexpr int64_t kMaxTurns = 128;
constexpr uint64_t kConversationsOfARun = 10'000'000;

struct Options {
  std::string url = "http://127.0.0.1:8000";
  std::string api_key;
  std::string model;
  std::string endpoint = "completions";
  std::vector<std::string> request_rates{"inf"};
  std::string arrivals = "poisson";
  std::vector<int64_t> concurrencies;
  std::string workload = "random";
  std::string extra_body;
  std::string slo;
  std::string json_path;
  std::string plot_path;
  bool stop_at_eos = false;
  bool quiet = false;
  int64_t warmup = 1;
  int64_t timeout_s = 600;
  WorkloadOptions work;
  RunOptions run;
};

void AddLoadOptions(CLI::App& app, Options& options) {
  app.add_option("--num-prompts", options.run.num_prompts, "Conversations of each run")
      ->check(CLI::Range(int64_t{1}, int64_t{10000000}))
      ->capture_default_str();
  app.add_option("--duration", options.run.duration_s, "Start none after so many seconds (0: no limit)")
      ->check(CLI::Range(0.0, 1e6));
  app.add_option("--request-rate", options.request_rates,
                 "Arrivals per second, inf for all at once; several, comma-separated, make several runs")
      ->delimiter(',')
      ->default_str("inf");
  app.add_option("--arrivals", options.arrivals, "Gaps between arrivals")
      ->check(CLI::IsMember({"poisson", "fixed"}))
      ->capture_default_str();
  app.add_option("--concurrency", options.concurrencies,
                 "At most so many at once; several, as in 1,4,16, make several runs (default: no limit)")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{1}, int64_t{100000}));
  app.add_option("--warmup", options.warmup, "Requests sent before the first run and not counted")
      ->check(CLI::Range(int64_t{0}, int64_t{10000}))
      ->capture_default_str();
  app.add_option("--timeout", options.timeout_s, "Seconds a request may take")
      ->check(CLI::Range(int64_t{1}, int64_t{86400}))
      ->capture_default_str();
  app.add_option("--seed", options.work.seed, "Of prompts, lengths and arrivals")->capture_default_str();
}

void AddWorkloadOptions(CLI::App& app, Options& options) {
  const auto length = CLI::Range(int64_t{1}, int64_t{10000000});
  app.add_option("--workload", options.workload, "What is asked")
      ->check(CLI::IsMember({"random", "shared-prefix", "multi-turn", "file"}))
      ->capture_default_str();
  app.add_option("--input-len", options.work.input_tokens, "New prompt tokens of a turn, nearly")
      ->check(length)
      ->capture_default_str();
  app.add_option("--output-len", options.work.output_tokens, "Output tokens of a turn")
      ->check(length)
      ->capture_default_str();
  app.add_option("--range-ratio", options.work.range, "Lengths vary by this share to either side")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--prefix-len", options.work.prefix_tokens, "shared-prefix: tokens of the prefix")
      ->check(length)
      ->capture_default_str();
  app.add_option("--num-prefixes", options.work.prefixes, "shared-prefix: how many different ones")
      ->check(CLI::Range(int64_t{1}, int64_t{100000}))
      ->capture_default_str();
  app.add_option("--turns", options.work.turns, "multi-turn: turns of a conversation")
      ->check(CLI::Range(int64_t{1}, kMaxTurns))
      ->capture_default_str();
  app.add_option("--dataset", options.work.file,
                 R"(file: JSON Lines of {"prompt": "..."} or {"turns": ["..."]}, and "output_tokens": n)");
}

void AddRequestOptions(CLI::App& app, Options& options) {
  app.add_option("URL,--url", options.url, "Of the server; http only")->capture_default_str();
  app.add_option("--api-key", options.api_key, "Sent as a bearer token");
  app.add_option("--model", options.model, "Default: the first that the server lists");
  app.add_option("--endpoint", options.endpoint, "What is called: /v1/completions or /v1/chat/completions")
      ->check(CLI::IsMember({"completions", "chat"}))
      ->capture_default_str();
  app.add_option("--temperature", options.run.temperature, "Of every request")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  app.add_flag("--stop-at-eos", options.stop_at_eos, "Let the model end its answers (default: ignore_eos is sent)");
  app.add_option("--extra-body", options.extra_body, "A JSON object merged into every request");
}

void AddOutputOptions(CLI::App& app, Options& options) {
  app.add_option("--slo", options.slo, "Bounds of goodput in milliseconds, as in ttft:200,tpot:50,e2e:5000");
  app.add_option("--json", options.json_path,
                 "Write the figures to this file; without one or for -, to standard output")
      ->expected(0, 1);
  app.add_option("--plot", options.plot_path, "Write a plot (SVG) to this file");
  app.add_flag("--quiet", options.quiet, "No progress on standard error");
}

class ProgressBar {
 public:
  explicit ProgressBar(bool quiet) : quiet_(quiet), terminal_(isatty(STDERR_FILENO) == 1) {}

  void Show(const Progress& progress) {
    constexpr double kLinePeriod = 5.0;  // seconds between lines where there is no terminal
    if (quiet_ || (!terminal_ && !progress.last && progress.seconds - last_line_ < kLinePeriod)) {
      return;
    }
    last_line_ = progress.seconds;
    constexpr size_t kBarWidth = 30;
    const double share =
        progress.planned == 0
            ? 1.0
            : std::min(1.0, static_cast<double>(progress.finished) / static_cast<double>(progress.planned));
    const auto filled = static_cast<size_t>(share * kBarWidth);
    const double seconds = std::max(progress.seconds, 1e-9);
    const std::string line =
        fmt::format("[{}{}] {}/{}  {:.1f} req/s  {:.0f} chunks/s  {} in flight{}", std::string(filled, '#'),
                    std::string(kBarWidth - filled, '.'), progress.finished, progress.planned,
                    static_cast<double>(progress.finished) / seconds, static_cast<double>(progress.chunks) / seconds,
                    progress.in_flight, progress.failed == 0 ? "" : fmt::format("  {} FAILED", progress.failed));
    std::cerr << (terminal_ ? "\r\033[K" : "") << line << (terminal_ && !progress.last ? "" : "\n") << std::flush;
  }

 private:
  bool quiet_;
  bool terminal_;
  double last_line_ = 0;
};

// The first model that the server lists.
Result<std::string> FirstModel(const Target& target) {
  ASSIGN_OR_RETURN(const Reply reply, Fetch(target, "/v1/models", "", kSetUpTimeout));
  if (reply.status != 200) {
    return MakeError(ErrorCode::kUnavailable,
                     fmt::format("/v1/models answered {}: {}", reply.status, reply.body.substr(0, 300)));
  }
  ASSIGN_OR_RETURN(const Json json, ParseJson(reply.body));
  const Json models = json.is_object() ? json.value("data", Json()) : Json();
  if (!models.is_array() || models.empty() || !models[0].is_object() || !models[0].value("id", Json()).is_string()) {
    return MakeError(ErrorCode::kUnavailable, "/v1/models lists no model; name one with --model");
  }
  return models[0]["id"].get<std::string>();
}

// Words of our word list for one token of the served model, by its /tokenize. Servers without one
// get the usual three words to four tokens; the report counts what the server says it read.
double WordsPerToken(const Target& target, const std::string& model, double otherwise) {
  constexpr int64_t kSampleWords = 400;
  const Json body = {{"model", model}, {"prompt", RandomWords(kSampleWords, 1, 1)}, {"add_special_tokens", false}};
  const auto reply = Fetch(target, "/tokenize", DumpJson(body), kSetUpTimeout);
  if (!reply.ok() || reply->status != 200) {
    return otherwise;
  }
  const auto json = ParseJson(reply->body);
  if (!json.ok() || !json->is_object() || !json->contains("count") || !(*json)["count"].is_number_integer()) {
    return otherwise;
  }
  const auto tokens = (*json)["count"].get<int64_t>();
  return tokens > 0 ? static_cast<double>(kSampleWords) / static_cast<double>(tokens) : otherwise;
}

Result<double> ParseRate(const std::string& text) {
  char* end = nullptr;
  const double rate = std::strtod(text.c_str(), &end);
  if (end == text.c_str() || *end != '\0' || !(rate > 0)) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("--request-rate: '{}' is not a rate above 0 or inf", text));
  }
  return rate;
}

// Fills options.run and options.work from the words of the command line.
Result<void> Resolve(Options& options) {
  ASSIGN_OR_RETURN(options.run.target, ParseUrl(options.url));
  options.run.target.api_key = options.api_key;
  ASSIGN_OR_RETURN(options.work.kind, ParseWorkloadKind(options.workload));
  if ((options.work.kind == WorkloadKind::kFile) == options.work.file.empty()) {
    return MakeError(ErrorCode::kInvalidArgument, "--workload file and --dataset FILE go together");
  }
  if (!options.extra_body.empty()) {
    ASSIGN_OR_RETURN(options.run.extra_body, ParseJson(options.extra_body));
    if (!options.run.extra_body.is_object()) {
      return MakeError(ErrorCode::kInvalidArgument, "--extra-body is not a JSON object");
    }
  }
  options.run.chat = options.endpoint == "chat";
  options.run.ignore_eos = !options.stop_at_eos;
  options.run.arrivals = options.arrivals == "fixed" ? ArrivalKind::kFixed : ArrivalKind::kPoisson;
  options.run.timeout = std::chrono::seconds(options.timeout_s);
  options.run.seed = options.work.seed;
  return {};
}

Result<void> WarmUp(const Options& options, const Workload& workload) {
  if (options.warmup == 0) {
    return {};
  }
  RunOptions warmup = options.run;
  warmup.num_prompts = options.warmup;
  warmup.duration_s = 0;
  warmup.concurrency = 1;
  ASSIGN_OR_RETURN(const auto records, Run(warmup, workload, [](const Progress&) {}));
  const auto failed =
      std::find_if(records.begin(), records.end(), [](const RequestRecord& record) { return !record.ok(); });
  if (failed != records.end()) {
    return MakeError(ErrorCode::kUnavailable,
                     fmt::format("the first request failed ({}): {}", failed->error_kind, failed->error_message));
  }
  return {};
}

Result<std::vector<RunReport>> RunAll(const Options& options, const Workload& workload, const Slo& slo) {
  TRY(WarmUp(options, workload));
  std::vector<int64_t> concurrencies = options.concurrencies;
  if (concurrencies.empty()) {
    concurrencies.push_back(0);
  }
  std::vector<RunReport> reports;
  for (const std::string& rate_text : options.request_rates) {
    ASSIGN_OR_RETURN(const double rate, ParseRate(rate_text));
    for (const int64_t concurrency : concurrencies) {
      RunOptions run = options.run;
      run.request_rate = rate;
      run.concurrency = concurrency;
      if (options.work.kind != WorkloadKind::kFile) {
        run.first_conversation = (reports.size() + 1) * kConversationsOfARun;  // the warm-up has the first ones
      }
      ProgressBar bar(options.quiet);
      ASSIGN_OR_RETURN(const auto records, Run(run, workload, [&bar](const Progress& p) { bar.Show(p); }));
      reports.push_back({rate, concurrency, ComputeStats(records, slo)});
      if (options.json_path != "-") {
        std::cout << ReportText(reports.back(), slo.given) << std::flush;
      }
    }
  }
  return reports;
}

Result<void> WriteFile(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  if (!file.flush()) {
    return MakeError(ErrorCode::kFailedPrecondition, fmt::format("cannot write {}", path));
  }
  return {};
}

Result<void> WriteReports(const Options& options, const std::vector<RunReport>& reports) {
  if (!options.json_path.empty()) {
    Json runs = Json::array();
    for (const RunReport& report : reports) {
      runs.push_back(ReportJson(report));
    }
    const Json json = {{"url", options.url},
                       {"model", options.run.model},
                       {"endpoint", options.endpoint},
                       {"workload", options.workload},
                       {"input_len", options.work.input_tokens},
                       {"output_len", options.work.output_tokens},
                       {"seed", options.work.seed},
                       {"slo", options.slo},
                       {"runs", runs}};
    const std::string text = json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
    if (options.json_path == "-") {
      std::cout << text;
    } else {
      TRY(WriteFile(options.json_path, text));
    }
  }
  if (!options.plot_path.empty()) {
    TRY(WriteFile(options.plot_path,
                  ReportSvg(fmt::format("{} at {}, {}", options.run.model, options.url, options.workload), reports)));
  }
  return {};
}

// Whether every request of every run was answered.
Result<bool> Execute(Options& options, const Slo& slo) {
  if (options.model.empty()) {
    ASSIGN_OR_RETURN(options.run.model, FirstModel(options.run.target));
  } else {
    options.run.model = options.model;
  }
  options.work.words_per_token = WordsPerToken(options.run.target, options.run.model, options.work.words_per_token);
  ASSIGN_OR_RETURN(const Workload workload, Workload::Make(options.work));
  if (workload.file_size() > 0) {
    options.run.num_prompts = std::min<int64_t>(options.run.num_prompts, static_cast<int64_t>(workload.file_size()));
  }
  ASSIGN_OR_RETURN(const auto reports, RunAll(options, workload, slo));
  TRY(WriteReports(options, reports));
  return std::all_of(reports.begin(), reports.end(),
                     [](const RunReport& report) { return report.stats.errors.empty() && report.stats.answered > 0; });
}

int Main(Options& options) {
  const auto report_error = [](const Error& error, int code) {
    std::cerr << "causeway bench serve: " << error.message << "\n";
    return code;
  };
  if (const auto resolved = Resolve(options); !resolved.ok()) {
    return report_error(resolved.error(), 2);
  }
  const auto slo = ParseSlo(options.slo);
  if (!slo.ok()) {
    return report_error(slo.error(), 2);
  }
  const auto all_answered = Execute(options, *slo);
  if (!all_answered.ok()) {
    return report_error(all_answered.error(), all_answered.error().code == ErrorCode::kInvalidArgument ? 2 : 1);
  }
  return *all_answered ? 0 : 1;
}

}  // namespace
}  // namespace bench

void AddBenchServe(CLI::App& bench, int& exit_code) {
  CLI::App* app = bench.add_subcommand("serve",
                                       "Load an OpenAI-compatible HTTP server: latencies, "
                                       "throughput and goodput at fixed rates or concurrencies");
  auto options = std::make_shared<bench::Options>();  // lives as long as the callback that CLI11 keeps
  bench::AddRequestOptions(*app, *options);
  bench::AddLoadOptions(*app, *options);
  bench::AddWorkloadOptions(*app, *options);
  bench::AddOutputOptions(*app, *options);
  app->footer(
      "Examples:\n"
      "  causeway bench serve --concurrency 1,4,16 --slo ttft:500,tpot:50 --plot load.svg\n"
      "  causeway bench serve http://other:8000 --request-rate 2,4,8 --workload multi-turn --endpoint chat");
  app->callback([app, options, &exit_code] {
    if (app->count("--json") > 0 && options->json_path.empty()) {
      options->json_path = "-";
    }
    exit_code = bench::Main(*options);
  });
}

}  // namespace causeway::server
