// causeway bench engine, and the commands beside it
#include <algorithm>
#include <chrono>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "base/json.h"
#include "base/rng.h"
#include "fmt/format.h"
#include "kernels/cpu/peak.h"
#include "model/adapter/adapter.h"
#include "model/network.h"
#include "model/sequence_runner.h"
#include "server/cli/bench_engine_ops.h"
#include "server/cli/bench_kv.h"
#include "server/cli/bench_serve/bench_serve.h"
#include "server/cli/commands.h"
#include "server/cli/make_model.h"
#include "server/cli/support.h"
#include "server/config/machine_memory.h"

namespace causeway::server {
namespace {

constexpr double kMiB = 1024.0 * 1024;

struct EngineBench : ModelOptions {
  int64_t prompt_tokens = 128;
  int64_t gen_tokens = 32;
  int64_t context = 0;  // positions before the first generated token; 0: the prompt
  std::vector<int64_t> batch = {1, 4, 16};
  std::string kv_format = "f16";
  std::vector<std::string> lora;
  bool ops = false;
  bool json = false;
};

using Adapters = std::vector<std::shared_ptr<const model::Adapter>>;

struct Figures {
  int64_t batch = 0;
  double prefill_seconds = 0;
  double decode_seconds = 0;
  std::optional<kernels::ReadBeside> beside = {};  // decode's steps
  std::vector<kernels::TracedOp> prefill_ops;      // both empty without --ops
  std::vector<kernels::TracedOp> decode_ops;
};

// Bytes of weights that one decode step reads: all but the embedding rows, which are looked up.
int64_t BytesPerStep(const model::Model& model) {
  const kernels::WeightView& table = model.network->embedding;
  return model.info.weight_bytes - (model.network->tied ? 0 : table.rows * table.row_bytes);
}

double Seconds(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// One measurement: a runner with as many sequences as the batch, through a trace where one is wanted.
class Measurement {
 public:
  Measurement(const Workbench& bench, const EngineBench& options, const Adapters& adapters, int64_t batch,
              kernels::ReadProbe& probe)
      : bench_(bench),
        options_(options),
        adapters_(adapters),
        probe_(probe),
        figures_{.batch = batch, .prefill_ops = {}, .decode_ops = {}} {
    if (options.ops) {
      trace_.emplace(*bench.ops);
      NameWeights(*bench.model->network, *trace_);
    }
  }

  Result<Figures> Run() {
    const int64_t positions = std::max(options_.prompt_tokens, options_.context) + options_.gen_tokens + 1;
    ASSIGN_OR_RETURN(runner_,
                     model::SequenceRunner::Create(
                         *bench_.model, trace_ ? trace_->ops() : *bench_.ops, *bench_.pool,
                         {.kv_format = options_.kv_format == "f32" ? kernels::KvFormat::kF32 : kernels::KvFormat::kF16,
                          .max_positions = positions,
                          .max_sequences = figures_.batch,
                          .chunk = 512,
                          .tuning = bench_.tuning}));
    for (int64_t i = 0; !adapters_.empty() && i < figures_.batch; ++i) {  // in turn
      runner_->SetAdapter(i, adapters_[static_cast<size_t>(i) % adapters_.size()].get());
    }
    TRY(runner_->Prefill(0, Prompt(0), true));  // touches weights, scratch and pages for the first time
    const int64_t prompts = options_.context > 0 ? 1 : figures_.batch;
    std::vector<Token> next(static_cast<size_t>(figures_.batch));
    for (int64_t i = 0; i < prompts; ++i) {
      ASSIGN_OR_RETURN(next[static_cast<size_t>(i)], Prefill(i));
    }
    for (int64_t i = 0; options_.context > 0 && i < figures_.batch; ++i) {
      TRY(runner_->Assume(i, options_.context));
    }
    TRY(Decode(std::move(next)));
    return std::move(figures_);
  }

 private:
  std::vector<Token> Prompt(int64_t sequence) const {
    std::vector<Token> prompt;
    for (int64_t t = 0; t < options_.prompt_tokens; ++t) {
      prompt.push_back(static_cast<Token>(RandomBits(1, static_cast<uint64_t>(sequence), static_cast<uint64_t>(t)) %
                                          static_cast<uint64_t>(bench_.model->info.vocab)));
    }
    return prompt;
  }

  std::vector<kernels::TracedOp> TakeOps() { return trace_ ? trace_->Take() : std::vector<kernels::TracedOp>(); }

  // The best prompt stands for all.
  Result<Token> Prefill(int64_t sequence) {
    const std::vector<Token> prompt = Prompt(sequence);
    TakeOps();
    const auto start = std::chrono::steady_clock::now();
    ASSIGN_OR_RETURN(const Token token, runner_->Prefill(sequence, prompt, true));
    const double seconds = Seconds(start);
    if (sequence == 0 || seconds < figures_.prefill_seconds) {
      figures_.prefill_seconds = seconds;
      figures_.prefill_ops = TakeOps();
    }
    return token;
  }

  Result<void> Decode(std::vector<Token> next) {
    TakeOps();
    figures_.beside.emplace(probe_);
    for (int64_t step = 0; step < options_.gen_tokens; ++step) {
      const auto start = std::chrono::steady_clock::now();
      ASSIGN_OR_RETURN(next, runner_->Decode(next));
      const double seconds = Seconds(start);
      figures_.decode_seconds += seconds;
      figures_.beside->Add(seconds);
    }
    figures_.decode_ops = TakeOps();
    return {};
  }

  const Workbench& bench_;
  const EngineBench& options_;
  const Adapters& adapters_;
  kernels::ReadProbe& probe_;
  std::optional<kernels::OpTrace> trace_;
  std::unique_ptr<model::SequenceRunner> runner_;
  Figures figures_;
};

// Of what most weights are multiplied with.
double PeakOf(const Workbench& bench, const kernels::MachineLimits& limits) {
  return bench.model->info.packed_bytes > 0 ? limits.int8_ops_all_threads : limits.flops_all_threads;
}

OrderedJson ResultJson(const Workbench& bench, const EngineBench& options, const kernels::MachineLimits& limits,
                       const Figures& figures) {
  const double steps_per_second = static_cast<double>(options.gen_tokens) / figures.decode_seconds;
  const double bytes_per_second = static_cast<double>(BytesPerStep(*bench.model)) * steps_per_second;
  const double prefill = static_cast<double>(options.prompt_tokens) / figures.prefill_seconds;
  // Two operations a weight and token; the head is computed for the last token only.
  const int64_t head = bench.model->network->vocab * bench.model->network->hidden;
  const double weights =
      static_cast<double>(bench.model->info.parameters - (bench.model->network->tied ? 1 : 2) * head);
  const double flops = 2 * weights * prefill;
  const double read = figures.beside->BytesPerSecond();
  kernels::MachineLimits beside = limits;
  beside.read_all_threads = {read, read};
  OrderedJson row = {
      {"prompt_tokens", options.prompt_tokens},
      {"gen_tokens", options.gen_tokens},
      {"context", options.context > 0 ? options.context : options.prompt_tokens},
      {"batch", figures.batch},
      {"prefill_tokens_per_s", prefill},
      {"prefill_gflops", flops / 1e9},
      {"prefill_share_of_peak", flops / PeakOf(bench, limits)},
      {"decode_tokens_per_s", static_cast<double>(figures.batch) * steps_per_second},
      {"decode_weight_bytes_per_step", BytesPerStep(*bench.model)},
      {"decode_gb_per_s", bytes_per_second / 1e9},
      {"read_gb_per_s_beside", read / 1e9},
      {"decode_share_of_read_bandwidth", figures.beside->ShareOf(static_cast<double>(BytesPerStep(*bench.model)))}};
  if (options.ops) {
    row["prefill_ops"] = OpsJson(figures.prefill_ops, 1, figures.prefill_seconds, limits);
    row["decode_ops"] = OpsJson(figures.decode_ops, options.gen_tokens, figures.decode_seconds, beside);
  }
  return row;
}

// Of the rows that were packed, for each thread: a core repacks so much.
double PackBytesPerSecond(const Workbench& bench) {
  const model::PackReport& pack = bench.model->info.pack;
  return static_cast<double>(pack.source_bytes) / std::max(pack.seconds, 1e-9) / bench.pool->threads();
}

// Right after loading: the peak is that of loading.
OrderedJson LoadJson(const Workbench& bench) {
  const model::ModelInfo& info = bench.model->info;
  OrderedJson load = {{"seconds", bench.load_seconds}, {"peak_memory_bytes", PeakMemoryBytes()}};
  if (info.packed_bytes > 0) {
    load["packed_bytes"] = info.packed_bytes;
    load["from_repack_cache"] = info.pack.cached;
    load["pack_seconds"] = info.pack.seconds;
    load["memory_seconds"] = info.pack.memory_seconds;
    load["pack_gb_per_s_each_thread"] = PackBytesPerSecond(bench) / 1e9;
  }
  return load;
}

void PrintLoad(const OrderedJson& load) {
  std::cout << fmt::format("loaded in {:.2f} s, at most {:.1f} MiB", load["seconds"].get<double>(),
                           load["peak_memory_bytes"].get<double>() / kMiB);
  if (load.contains("packed_bytes")) {
    const auto packed = load["packed_bytes"].get<double>();
    std::cout << fmt::format(" ({:.2f} of the packed {:.1f}); ", load["peak_memory_bytes"].get<double>() / packed,
                             packed / kMiB)
              << (load["from_repack_cache"].get<bool>()
                      ? fmt::format("mapped from the repack cache in {:.2f} s", load["pack_seconds"].get<double>())
                      : fmt::format("repacked in {:.2f} s, {:.2f} GB/s a thread, into memory cleared in {:.2f} s",
                                    load["pack_seconds"].get<double>(), load["pack_gb_per_s_each_thread"].get<double>(),
                                    load["memory_seconds"].get<double>()));
  }
  std::cout << '\n';
}

OrderedJson MachineJson(const Workbench& bench, const kernels::MachineLimits& limits) {
  return {{"kernels", std::string(bench.ops->name)},
          {"threads", limits.threads},
          {"cpus", bench.pool->cpus()},
          {"x_block_bytes", bench.tuning.x_block_bytes},
          {"least_block_rows", bench.tuning.least_block_rows},
          {"asks_for_one_row", bench.tuning.asks_for_one_row},
          {"fork_join_us", limits.fork_join_seconds * 1e6},
          {"fork_join_asleep_us", limits.fork_join_asleep_seconds * 1e6},
          {"read_gb_per_s_one_thread", limits.read_one_thread.far_streams / 1e9},
          {"read_gb_per_s_one_stream", limits.read_all_threads.one_stream / 1e9},
          {"read_gb_per_s_far_streams", limits.read_all_threads.far_streams / 1e9},
          {"multiply_add", std::string(limits.instruction)},
          {"gflops", limits.flops_all_threads / 1e9},
          {"float_multiply_add", std::string(limits.float_instruction)},
          {"float_gflops", limits.float_flops_all_threads / 1e9},
          {"int8_multiply_add", std::string(limits.int8_instruction)},
          {"int8_gops", limits.int8_ops_all_threads / 1e9},
          {"packed_weight_bytes", bench.model->info.packed_bytes}};
}

void PrintReport(const Workbench& bench, const kernels::MachineLimits& limits, const OrderedJson& report) {
  const bool int8 = bench.model->info.packed_bytes > 0;
  std::cout << fmt::format(
                   "{} kernels, {}, read {:.1f} GB/s, {} {:.0f} GOP/s, fork and join {:.1f} us ({:.0f} asleep)\n",
                   std::string(bench.ops->name), bench.pool->Describe(), limits.ReadBytesPerSecond() / 1e9,
                   std::string(int8 ? limits.int8_instruction : limits.instruction), PeakOf(bench, limits) / 1e9,
                   limits.fork_join_seconds * 1e6, limits.fork_join_asleep_seconds * 1e6)
            << "tuned: " << bench.tuning.Describe() << '\n';
  for (const OrderedJson& row : report["results"]) {
    const auto batch = row["batch"].get<int64_t>();
    std::cout << fmt::format(
        "batch {:3}: prefill {:8.1f} tokens/s ({:3.0f}% of the peak), decode {:8.1f} tokens/s ({:3.0f}% of "
        "{:.1f} GB/s read)\n",
        batch, row["prefill_tokens_per_s"].get<double>(), 100 * row["prefill_share_of_peak"].get<double>(),
        row["decode_tokens_per_s"].get<double>(), 100 * row["decode_share_of_read_bandwidth"].get<double>(),
        row["read_gb_per_s_beside"].get<double>());
    if (row.contains("decode_ops")) {
      std::cout << OpsTable(fmt::format("a prefill of {} tokens", row["prompt_tokens"].get<int64_t>()),
                            row["prefill_ops"])
                << OpsTable(fmt::format("a decode step of batch {} from position {} on", batch,
                                        row["context"].get<int64_t>()),
                            row["decode_ops"]);
    }
  }
}

Result<void> RunEngine(const EngineBench& options) {
  ASSIGN_OR_RETURN(Workbench bench, MakeWorkbench(options));
  OrderedJson load = LoadJson(bench);
  Adapters adapters;
  for (const std::string& flag : options.lora) {
    ASSIGN_OR_RETURN(adapters.emplace_back(), LoadLora(bench, flag));
  }
  std::cerr << "measuring the machine\n";
  bench.pool->BindCaller();
  const kernels::MachineLimits limits = kernels::MeasureLimits(*bench.pool, *bench.ops);
  bench.tuning = kernels::TuneLinear(kernels::MeasureShape(*bench.pool, *bench.ops));
  OrderedJson report = {{"model", bench.model->info.name},
                        {"load", std::move(load)},
                        {"machine", MachineJson(bench, limits)},
                        {"results", OrderedJson::array()}};
  kernels::ReadProbe probe(*bench.pool, limits);
  for (const int64_t batch : options.batch) {
    std::cerr << fmt::format("batch {}\n", batch);
    ASSIGN_OR_RETURN(const Figures figures, Measurement(bench, options, adapters, batch, probe).Run());
    report["results"].push_back(ResultJson(bench, options, limits, figures));
  }
  if (options.json) {
    std::cout << DumpJson(report) << '\n';
    return {};
  }
  PrintLoad(report["load"]);
  PrintReport(bench, limits, report);
  return {};
}

void AddEngine(CLI::App& bench, int& exit_code) {
  CLI::App* const engine =
      bench.add_subcommand("engine", "Prefill and decode rates without a server, against the machine's limits");
  auto options = std::make_shared<EngineBench>();
  AddModelOptions(*engine, *options);
  engine->add_option("--prompt-tokens", options->prompt_tokens, "Tokens of each prompt")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  engine->add_option("--gen-tokens", options->gen_tokens, "Tokens to generate")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  engine->add_option("--batch", options->batch, "Sequences at once, several sizes")
      ->delimiter(',')
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  engine
      ->add_option(
          "--context", options->context,
          "Positions of each sequence before the first generated one, assumed instead of computed; 0: the prompt")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  engine->add_option("--kv-cache-dtype", options->kv_format, "Number format of the KV cache")
      ->check(CLI::IsMember({"f32", "f16"}))
      ->capture_default_str();
  engine->add_option("--lora", options->lora, "LoRA adapters, which sequences use in turn; may be given several times")
      ->allow_extra_args(false);
  engine->add_flag("--ops", options->ops, "Show where the time of a prefill and of a decode step goes");
  engine->add_flag("--json", options->json, "Print JSON");
  engine->callback([options, &exit_code] {
    if (const auto done = RunEngine(*options); !done.ok()) {
      exit_code = PrintError(done.error());
    }
  });
}

}  // namespace

void AddBench(CLI::App& root, int& exit_code) {
  CLI::App* const bench = root.add_subcommand("bench", "Measure the engine, or a server under load");
  bench->require_subcommand(1);
  AddEngine(*bench, exit_code);
  AddBenchKv(*bench, exit_code);
  AddBenchServe(*bench, exit_code);
  AddMakeModel(*bench, exit_code);
}

}  // namespace causeway::server
