// causeway eval perplexity|retrieval
#include <iostream>
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
  std::string lora;  // empty: the model as it is
  bool json = false;
};

Result<std::string> ReadInput(const EvalOptions& options, const char* builtin) {
  if (options.file.empty()) {
    return std::string(model::AsText(model::BuiltinFile(builtin)));
  }
  return ReadInputFile(options.file);
}

kernels::KvFormat FormatOf(const std::string& name) {
  return name == "f16" ? kernels::KvFormat::kF16 : name == "bf16" ? kernels::KvFormat::kBF16 : kernels::KvFormat::kF32;
}

Result<void> RunPerplexity(const EvalOptions& options) {
  ASSIGN_OR_RETURN(const Workbench bench, MakeWorkbench(options));
  ASSIGN_OR_RETURN(const auto adapter, LoadLora(bench, options.lora));
  ASSIGN_OR_RETURN(const std::string text, ReadInput(options, "eval/valid.txt"));
  model::PerplexityResult result;
  {
    ProgressBar bar("perplexity");
    ASSIGN_OR_RETURN(
        result, model::EvalPerplexity(*bench.model, *bench.ops, *bench.pool,
                                      {.kv_format = FormatOf(options.kv_format), .adapter = adapter.get()}, text,
                                      options.window, options.stride,
                                      [&](double fraction, std::string_view detail) { bar.Show(fraction, detail); }));
  }
  if (options.json) {
    std::cout << DumpJson(OrderedJson{{"tokens", result.tokens},
                                      {"nll_per_token", result.nll},
                                      {"perplexity", result.perplexity},
                                      {"window", options.window},
                                      {"stride", options.stride}})
              << '\n';
  } else {
    std::cout << fmt::format("{} tokens, nll {:.5f}, perplexity {:.4f} (window {}, stride {})\n", result.tokens,
                             result.nll, result.perplexity, options.window, options.stride);
  }
  return {};
}

using Score = model::RetrievalResult::Score;

OrderedJson ScoreJson(const Score& score) { return {score.correct, score.items}; }

OrderedJson RetrievalJson(const model::RetrievalResult& result) {
  OrderedJson kinds = OrderedJson::object();
  OrderedJson buckets = OrderedJson::object();
  OrderedJson cells = OrderedJson::object();
  for (const auto& [kind, score] : result.per_kind) {
    kinds[kind] = ScoreJson(score);
  }
  for (const auto& [bucket, score] : result.per_bucket) {
    buckets[std::to_string(bucket)] = ScoreJson(score);
  }
  for (const auto& [cell, score] : result.per_kind_and_bucket) {
    cells[cell.first][std::to_string(cell.second)] = ScoreJson(score);
  }
  return {{"correct", result.all.correct},
          {"items", result.all.items},
          {"per_kind", std::move(kinds)},
          {"per_bucket", std::move(buckets)},
          {"per_kind_and_bucket", std::move(cells)}};
}

// A row a kind, a column a context length.
void PrintTable(const model::RetrievalResult& result) {
  const auto cell = [](const Score& score) {
    return fmt::format("{:>9}", fmt::format("{}/{}", score.correct, score.items));
  };
  std::string header = fmt::format("{:<10}", "kind");
  std::string totals = fmt::format("{:<10}", "all");
  for (const auto& [bucket, score] : result.per_bucket) {
    header += fmt::format("{:>9}", bucket);
    totals += cell(score);
  }
  std::cout << header << fmt::format("{:>9}\n", "all");
  for (const auto& [kind, total] : result.per_kind) {
    std::cout << fmt::format("{:<10}", kind);
    for (const auto& [bucket, ignored] : result.per_bucket) {
      const auto found = result.per_kind_and_bucket.find({kind, bucket});
      std::cout << (found == result.per_kind_and_bucket.end() ? fmt::format("{:>9}", "-") : cell(found->second));
    }
    std::cout << cell(total) << '\n';
  }
  std::cout << totals << cell(result.all) << '\n';
}

Result<void> RunRetrieval(const EvalOptions& options) {
  ASSIGN_OR_RETURN(const Workbench bench, MakeWorkbench(options));
  ASSIGN_OR_RETURN(const auto adapter, LoadLora(bench, options.lora));
  ASSIGN_OR_RETURN(const std::string items, ReadInput(options, "eval/retrieval.jsonl"));
  model::RetrievalResult result;
  {
    ProgressBar bar("retrieval");
    const auto show = [&](double fraction, std::string_view detail) { bar.Show(fraction, detail); };
    ASSIGN_OR_RETURN(result, model::EvalRetrieval(*bench.model, *bench.ops, *bench.pool,
                                                  {.kv_format = FormatOf(options.kv_format), .adapter = adapter.get()},
                                                  items, show));
  }
  if (options.json) {
    std::cout << DumpJson(RetrievalJson(result)) << '\n';
  } else {
    PrintTable(result);
  }
  return {};
}

CLI::App* AddKind(CLI::App& eval, const char* name, const char* help, std::shared_ptr<EvalOptions> options,
                  Result<void> (*run)(const EvalOptions&), int& exit_code) {
  CLI::App* const kind = eval.add_subcommand(name, help);
  AddModelOptions(*kind, *options);
  kind->add_option("--kv-cache-dtype", options->kv_format, "Number format of the KV cache")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}))
      ->capture_default_str();
  kind->add_option("--lora", options->lora, fmt::format("Evaluate with this LoRA adapter: {}", kLoraPlaces));
  kind->add_flag("--json", options->json, "Print JSON");
  kind->callback([options = std::move(options), run, &exit_code] {
    if (const auto done = run(*options); !done.ok()) {
      exit_code = PrintError(done.error());
    }
  });
  return kind;
}

}  // namespace

void AddEval(CLI::App& root, int& exit_code) {
  CLI::App* const eval = root.add_subcommand("eval", "How well a model predicts and remembers");
  eval->require_subcommand(1);
  const auto perplexity = std::make_shared<EvalOptions>();
  CLI::App* const text = AddKind(*eval, "perplexity", "Perplexity over a text", perplexity, RunPerplexity, exit_code);
  text->add_option("--text", perplexity->file,
                   "A text file, - for standard input; without it, the built-in model's own");
  text->add_option("--window", perplexity->window, "Positions of a window; the first is the begin-of-text token")
      ->check(CLI::Range(2, 1 << 24))
      ->capture_default_str();
  text->add_option("--stride", perplexity->stride, "Tokens from window to window, below the window")
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str();
  const auto retrieval = std::make_shared<EvalOptions>();
  CLI::App* const items = AddKind(*eval, "retrieval", "Exact answers to items whose answer stands in the prompt",
                                  retrieval, RunRetrieval, exit_code);
  items->add_option("--items", retrieval->file,
                    "JSON Lines of prompt, answer_tokens, kind and bucket, - for standard input; without it, the "
                    "built-in model's own");
}

}  // namespace causeway::server
