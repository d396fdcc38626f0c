// causeway eval perplexity|retrieval
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>

#include "base/json.h"
#include "fmt/format.h"
#include "model/builtin/builtin.h"
#include "model/eval.h"
#include "model/files.h"
#include "server/cli/commands.h"
#include "server/cli/support.h"

namespace causeway::server {
namespace {

struct EvalOptions : ModelOptions {
  std::string file;  // empty: the built-in model's own
  int64_t window = 1024;
  int64_t stride = 512;
  std::string kv_format = "f32";
  bool json = false;
};

Result<std::string> ReadInput(const EvalOptions& options, const char* builtin) {
  if (options.file.empty()) {
    return std::string(model::AsText(model::BuiltinFile(builtin)));
  }
  std::ifstream file(options.file, std::ios::binary);
  if (!file.good()) {
    return MakeError(ErrorCode::kNotFound, "cannot read " + options.file);
  }
  return std::string(std::istreambuf_iterator<char>(file), {});
}

kernels::KvFormat FormatOf(const std::string& name) {
  return name == "f16" ? kernels::KvFormat::kF16 : name == "bf16" ? kernels::KvFormat::kBF16 : kernels::KvFormat::kF32;
}

Result<void> RunPerplexity(const EvalOptions& options) {
  ASSIGN_OR_RETURN(const Workbench bench, MakeWorkbench(options));
  ASSIGN_OR_RETURN(const std::string text, ReadInput(options, "eval/valid.txt"));
  model::PerplexityResult result;
  {
    ProgressBar bar("perplexity");
    ASSIGN_OR_RETURN(result, model::EvalPerplexity(*bench.model, *bench.ops, *bench.pool, FormatOf(options.kv_format),
                                                   text, options.window, options.stride,
                                                   [&](double fraction) { bar.Show(fraction); }));
  }
  if (options.json) {
    std::cout << DumpJson(OrderedJson{{"tokens", result.tokens}, {"nll_per_token", result.nll},
                                      {"perplexity", result.perplexity}, {"window", options.window},
                                      {"stride", options.stride}})
              << '\n';
  } else {
    std::cout << fmt::format("{} tokens, nll {:.5f}, perplexity {:.4f} (window {}, stride {})\n", result.tokens,
                             result.nll, result.perplexity, options.window, options.stride);
  }
  return {};
}

OrderedJson ScoreJson(const model::RetrievalResult::Score& score) { return {score.correct, score.items}; }

Result<void> RunRetrieval(const EvalOptions& options) {
  ASSIGN_OR_RETURN(const Workbench bench, MakeWorkbench(options));
  ASSIGN_OR_RETURN(const std::string items, ReadInput(options, "eval/retrieval.jsonl"));
  model::RetrievalResult result;
  {
    ProgressBar bar("retrieval");
    ASSIGN_OR_RETURN(result, model::EvalRetrieval(*bench.model, *bench.ops, *bench.pool, FormatOf(options.kv_format),
                                                  items, [&](double fraction) { bar.Show(fraction); }));
  }
  OrderedJson kinds = OrderedJson::object();
  OrderedJson buckets = OrderedJson::object();
  for (const auto& [kind, score] : result.per_kind) {
    kinds[kind] = ScoreJson(score);
  }
  for (const auto& [bucket, score] : result.per_bucket) {
    buckets[std::to_string(bucket)] = ScoreJson(score);
  }
  const OrderedJson all = {{"correct", result.all.correct}, {"items", result.all.items},
                           {"per_kind", kinds}, {"per_bucket", buckets}};
  std::cout << (options.json ? DumpJson(all) : all.dump(2)) << '\n';
  return {};
}

void AddKind(CLI::App& eval, const char* name, const char* help, const char* input, Result<void> (*run)(const EvalOptions&),
             int& exit_code) {
  CLI::App* const kind = eval.add_subcommand(name, help);
  auto options = std::make_shared<EvalOptions>();
  kind->add_option("--model", options->model, "A folder, org/name in the Hugging Face cache, or fable")->default_str("fable");
  kind->add_option(input, options->file, "Input file; without it, the built-in model's own");
  if (std::string(input) == "--text") {
    kind->add_option("--window", options->window, "Positions of a window")->capture_default_str();
    kind->add_option("--stride", options->stride, "Tokens from window to window")->capture_default_str();
  }
  kind->add_option("--kv-cache-dtype", options->kv_format, "Number format of the KV cache")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}))->capture_default_str();
  kind->add_option("--threads", options->threads, "Threads that compute; 0: one a core")->check(CLI::Range(0, 1024));
  kind->add_option("--force-kernels", options->force_kernels, "Use this set of kernels");
  kind->add_flag("--json", options->json, "Print JSON");
  kind->callback([options, run, &exit_code] {
    if (const auto done = run(*options); !done.ok()) {
      exit_code = PrintError(done.error());
    }
  });
}

}  // namespace

void AddEval(CLI::App& root, int& exit_code) {
  CLI::App* const eval = root.add_subcommand("eval", "How well a model predicts and remembers");
  eval->require_subcommand(1);
  AddKind(*eval, "perplexity", "Perplexity over a text", "--text", RunPerplexity, exit_code);
  AddKind(*eval, "retrieval", "Exact answers to items whose answer stands in the prompt", "--items", RunRetrieval, exit_code);
}

}  // namespace causeway::server
