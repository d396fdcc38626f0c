#include "server/cli/support.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <span>

#include <CLI/CLI.hpp>
#include "fmt/format.h"

#include "server/api/adapters.h"
#include "server/config/compute_threads.h"
#include "server/config/environment.h"

namespace causeway::server {

namespace {

// 1234567 to "1.23 M" with the units given, each `step` times the one before.
std::string Readable(int64_t value, double step, std::span<const std::string_view> units) {
  auto scaled = static_cast<double>(value);
  size_t unit = 0;
  while (scaled >= step && unit + 1 < units.size()) {
    scaled /= step;
    ++unit;
  }
  const int digits = unit == 0 || scaled >= 100 ? 0 : scaled >= 10 ? 1 : 2;
  return fmt::format("{:.{}f}{}{}", scaled, digits, units[unit].empty() ? "" : " ", units[unit]);
}

}  // namespace

int PrintError(const Error& error) {
  std::cerr << "causeway: " << error.message << '\n';
  return error.code == ErrorCode::kInvalidArgument && !error.param.empty() ? 2 : 1;
}

Result<std::string> ReadInputFile(const std::string& path) {
  if (path == "-") {
    return std::string(std::istreambuf_iterator<char>(std::cin), {});
  }
  std::error_code ignored;
  std::ifstream file(path, std::ios::binary);
  if (!file.good() || std::filesystem::is_directory(path, ignored)) {
    return MakeError(ErrorCode::kNotFound, "cannot read " + path);
  }
  return std::string(std::istreambuf_iterator<char>(file), {});
}

std::string ReadableBytes(int64_t bytes) {
  static constexpr std::string_view kUnits[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  return Readable(bytes, 1024, kUnits);
}

std::string ReadableCount(int64_t count) {
  static constexpr std::string_view kUnits[] = {"", "K", "M", "B"};
  return Readable(count, 1000, kUnits);
}

void AddModelOptions(CLI::App& command, ModelOptions& options, const ModelFlags& flags) {
  command
      .add_option("MODEL,--model", options.model, "A folder, org/name in the Hugging Face cache, or fable (built in)")
      ->default_str("fable");
  if (flags.threads) {
    command.add_option("--threads", options.threads, "Threads that compute; 0: one a core")
        ->check(CLI::Range(0, 1024))
        ->capture_default_str();
    command
        .add_option("--cpu-affinity", options.cpu_affinity,
                    "CPUs to bind them to: auto (free physical cores), off, or a list like 0-3,8")
        ->capture_default_str();
  }
  command.add_option("--force-kernels", options.force_kernels, "Use this set of kernels instead of the fastest");
  AddActivationsOption(command, options.activations);
  command.add_option("--repack-cache", options.repack_cache,
                     "Folder in which repacked weights are kept, so that the next start maps them");
}

void AddActivationsOption(CLI::App& command, std::string& activations) {
  command
      .add_option(
          "--activations", activations,
          "What quantized weights multiply: int8, where kernels have integer arithmetic for their format, or f32")
      ->check(CLI::IsMember({"int8", "f32"}))
      ->capture_default_str();
}

ProgressBar::ProgressBar(std::string label) : label_(std::move(label)), terminal_(StderrIsTerminal()) {}

ProgressBar::~ProgressBar() {
  if (terminal_ && shown_ >= 0) {
    std::cerr << '\n';
  }
}

void ProgressBar::Show(double fraction, std::string_view detail) {
  constexpr int kWidth = 40;
  const int percent = static_cast<int>(std::clamp(fraction, 0.0, 1.0) * 100);
  if (percent == shown_ || (!terminal_ && percent / 10 == shown_ / 10 && shown_ >= 0)) {
    return;
  }
  shown_ = percent;
  if (!terminal_) {
    std::cerr << fmt::format("{}: {}% {}\n", label_, percent, detail);
    return;
  }
  const int filled = percent * kWidth / 100;
  std::cerr << fmt::format("\r{} [{}{}] {:3}% {}\x1b[K", label_, std::string(static_cast<size_t>(filled), '#'),
                           std::string(static_cast<size_t>(kWidth - filled), ' '), percent, detail)
            << std::flush;
}

Result<Workbench> MakeWorkbench(const ModelOptions& options) {
  Workbench bench;
  ASSIGN_OR_RETURN(bench.ops, kernels::SelectOps(options.force_kernels));
  ASSIGN_OR_RETURN(const ThreadPoolOptions pool, ToThreadPoolOptions(options.threads, options.cpu_affinity));
  bench.pool = std::make_unique<ThreadPool>(pool);
  model::LoadOptions load;
  load.model = options.model;
  load.hub_caches = HubCaches();
  load.repack_cache = options.repack_cache;
  load.pack_on = options.activations == "int8" ? bench.pool.get() : nullptr;
  const auto start = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(bench.model, model::LoadModel(load));
  bench.load_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return bench;
}

std::string LoraPath(const std::string& flag) {
  std::error_code ignored;
  const size_t at = flag.find('=');
  return at == std::string::npos || std::filesystem::exists(flag, ignored) ? flag : flag.substr(at + 1);
}

Result<std::shared_ptr<const model::Adapter>> LoadLora(const Workbench& bench, const std::string& flag) {
  if (flag.empty()) {
    return std::shared_ptr<const model::Adapter>();
  }
  constexpr int64_t kMaxRank = 4096;
  const auto load = [&]() -> Result<std::shared_ptr<const model::Adapter>> {
    ASSIGN_OR_RETURN(const std::string folder, AdapterFolder(LoraPath(flag), HubCaches()));
    return model::LoadAdapter(*bench.model->network, {.name = flag, .path = folder, .max_rank = kMaxRank});
  };
  auto loaded = load();
  if (!loaded.ok()) {
    Error error = loaded.error().WithContext("--lora " + flag);
    error.param = "lora";
    return error;
  }
  return loaded;
}

}  // namespace causeway::server
