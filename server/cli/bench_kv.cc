#include "server/cli/bench_kv.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>
#include "fmt/format.h"

#include "model/make_model.h"
#include "server/cli/bench_kv/figures.h"
#include "server/cli/support.h"
#include "server/config/machine_memory.h"

namespace causeway::server {
namespace {

using bench_kv::Figures;
using bench_kv::Sizes;
using bench_kv::Vm;

struct KvBench : ModelOptions {
  Sizes sizes;
  int64_t pool_mib = 2048;
  int64_t page_tokens = 0;  // 0: as many as the server chooses
  bool json = false;
};

// Llama-3-8B: 16 tokens fill a page of 2 MiB.
constexpr memory::KvShape kUsualShape{.layers = 32, .kv_heads = 8, .head_dim = 128, .element_bytes = 2};
// A small Llama with a long context, for the first token.
constexpr model::ModelShape kLongShape{"bench-kv", 512, 8, 8, 4, 64, 1408, 4096, 131072};

// A folder that is gone with the object.
class TemporaryFolder {
 public:
  TemporaryFolder() = default;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  Result<std::string> Make() {
    std::error_code error;
    std::string name = std::filesystem::temp_directory_path(error) / "causeway-bench-kv-XXXXXX";
    if (error || ::mkdtemp(name.data()) == nullptr) {
      return MakeError(ErrorCode::kFailedPrecondition, "cannot make a folder for a model: " + name);
    }
    path_ = name;
    return name;
  }

 private:
  std::string path_;
};

// The model that was asked for where its context is long enough, else a small one of random weights.
Result<void> MeasureFirstToken(const KvBench& options, Figures& figures) {
  ModelOptions wanted = options;
  TemporaryFolder folder;
  if (wanted.model.empty()) {
    ASSIGN_OR_RETURN(wanted.model, folder.Make());
    TRY(model::MakeModel(kLongShape, wanted.model, [](double) {}));
  }
  ASSIGN_OR_RETURN(const Workbench bench, MakeWorkbench(wanted));
  constexpr int64_t kBehind = 64;  // of the prompt
  if (bench.model->info.context_length < options.sizes.prompt_tokens + kBehind) {
    std::cerr << fmt::format(
        "the context of {} is too short for a prompt of {} tokens: a model of random weights stands in\n",
        bench.model->info.name, options.sizes.prompt_tokens);
    KvBench stand_in = options;
    stand_in.model.clear();
    return MeasureFirstToken(stand_in, figures);
  }
  return bench_kv::MeasureFirstToken({*bench.model, *bench.ops, *bench.pool}, options.sizes, figures);
}

// Pages of the model that was asked for, else of a usual one, which has 2 MiB; of so many tokens where that was asked
// for.
Result<memory::KvGeometry> GeometryOf(const KvBench& options) {
  memory::KvShape shape = kUsualShape;
  if (!options.model.empty()) {
    ASSIGN_OR_RETURN(const Workbench bench, MakeWorkbench(options));
    shape = bench.model->KvShape(kUsualShape.element_bytes);
  }
  ASSIGN_OR_RETURN(const int64_t granularity, bench_kv::GranularityOf(options.sizes.vm));
  ASSIGN_OR_RETURN(memory::KvGeometry geometry, memory::ChooseGeometry(shape, granularity));
  if (options.page_tokens > 0) {
    geometry.tokens_per_page = options.page_tokens;
    const int64_t bytes = options.page_tokens * geometry.BytesPerToken();
    geometry.page_bytes = (bytes + granularity - 1) / granularity * granularity;
  }
  return geometry;
}

// A device's memory is not this machine's: it says itself where it is too small.
Result<void> CheckMemory(const memory::KvGeometry& geometry, const Sizes& sizes) {
  if (sizes.vm != Vm::kLinux) {
    return {};
  }
  const int64_t needed = bench_kv::PeakBytes(geometry, sizes);
  ASSIGN_OR_RETURN(const MachineMemory memory, ReadMachineMemory());
  if (needed > memory.available_bytes) {
    return MakeError(
        ErrorCode::kResourceExhausted,
        fmt::format("this takes up to {} of memory, and {} has {} left; --fork-tokens and --pool-mib make it "
                    "smaller",
                    ReadableBytes(needed), memory.limited_by, ReadableBytes(memory.available_bytes)));
  }
  return {};
}

// What reads the pages: threads of this machine, or a kernel of the device, which has no model to run yet.
Result<void> MeasureReaders(const KvBench& options, const memory::KvGeometry& geometry, Figures& figures) {
  std::cerr << "layouts\n";
  if (options.sizes.vm == Vm::kCuda) {
    TRY(bench_kv::MeasureDeviceScan(geometry, options.sizes, figures));
    std::cerr << "no first tokens: models run on the processor only\n";
    return {};
  }
  TRY(bench_kv::MeasureScan(geometry, options.sizes, figures));
  std::cerr << fmt::format("first tokens behind {}\n", options.sizes.prompt_tokens);
  return MeasureFirstToken(options, figures);
}

Result<void> RunKv(const KvBench& options) {
  ASSIGN_OR_RETURN(const memory::KvGeometry geometry, GeometryOf(options));
  TRY(CheckMemory(geometry, options.sizes));
  ASSIGN_OR_RETURN(const auto one_page, bench_kv::MakeBackend(options.sizes.vm, geometry.page_bytes, 1));
  std::cerr << fmt::format("pages of {}, {} tokens: {}\n", ReadableBytes(geometry.page_bytes), geometry.tokens_per_page,
                           one_page->Describe());
  Figures figures;
  std::cerr << "pages\n";
  TRY(bench_kv::MeasurePages(geometry, options.sizes, figures));
  std::cerr << "spans and forks\n";
  TRY(bench_kv::MeasureSpans(geometry, options.sizes, figures));
  std::cerr << "prefixes\n";
  TRY(bench_kv::MeasurePrefix(geometry, options.sizes, figures));
  std::cerr << fmt::format("a workload of {} requests\n", options.sizes.requests);
  TRY(bench_kv::MeasureWorkload(geometry, options.sizes, figures));
  TRY(MeasureReaders(options, geometry, figures));
  std::cout << (options.json ? DumpJson(figures.Json()) + "\n" : figures.Table());
  return {};
}

void AddSizes(CLI::App& kv, KvBench& options) {
  const auto add = [&](const char* name, int64_t& value, const char* what, int64_t low, int64_t high) {
    kv.add_option(name, value, what)->check(CLI::Range(low, high))->capture_default_str();
  };
  add("--fork-tokens", options.sizes.fork_tokens, "Tokens of the sequence that is forked, copied and scanned", 64,
      1 << 20);
  add("--lookup-tokens", options.sizes.lookup_tokens, "Tokens of the prompt that is hashed and looked up", 64, 1 << 22);
  add("--prompt-tokens", options.sizes.prompt_tokens, "Tokens that a cold and a warm request share", 64, 1 << 17);
  add("--requests", options.sizes.requests, "Requests of the staggered workload", 5, 1 << 20);
  add("--pool-mib", options.pool_mib, "Pages of the workload, in MiB", 64, 1 << 20);
  add("--rounds", options.sizes.rounds, "Repetitions of what takes long", 1, 1000);
}

}  // namespace

void AddBenchKv(CLI::App& bench, int& exit_code) {
  CLI::App* const kv = bench.add_subcommand("kv", "What the KV cache costs: pages, forks, prefixes, layouts");
  auto options = std::make_shared<KvBench>();
  AddModelOptions(*kv, *options);
  kv->get_option("--model")
      ->description("Measure this model's pages and first token; without, pages of 2 MiB and a small random model")
      ->default_str("");
  AddSizes(*kv, *options);
  kv->add_option("--prefix-spelling", options->sizes.spelling, "How a sequence has what it shares: alias or segments")
      ->transform(CLI::CheckedTransformer(std::map<std::string, memory::PrefixSpelling>{
          {"alias", memory::PrefixSpelling::kAlias}, {"segments", memory::PrefixSpelling::kSegments}}))
      ->default_str(memory::kLinuxPrefixSpelling == memory::PrefixSpelling::kAlias ? "alias" : "segments");
  kv->add_option("--vm", options->sizes.vm,
                 "Whose memory pages are: linux (this machine's) or cuda (its first device's)")
      ->transform(CLI::CheckedTransformer(std::map<std::string, Vm>{{"linux", Vm::kLinux}, {"cuda", Vm::kCuda}}))
      ->default_str("linux");
  kv->add_option("--page-tokens", options->page_tokens,
                 "Tokens of a page, but for the first tokens (default: what the server chooses)")
      ->check(CLI::IsMember({16, 32, 48, 64}))
      ->default_str("");
  kv->add_flag("--json", options->json, "Print JSON: one object, {\"p50\": .., \"p99\": ..} for each figure measured");
  kv->footer(
      "Example:\n"
      "  causeway bench kv --json --fork-tokens 2048 --pool-mib 512");
  kv->callback([options, &exit_code] {
    options->sizes.pool_bytes = options->pool_mib << 20;
    if (const auto done = RunKv(*options); !done.ok()) {
      const bool full = options->sizes.vm == Vm::kCuda && done.error().code == ErrorCode::kResourceExhausted;
      exit_code = PrintError(
          full ? done.error().WithContext("the device is full; --fork-tokens and --pool-mib take less") : done.error());
    }
  });
}

}  // namespace causeway::server
