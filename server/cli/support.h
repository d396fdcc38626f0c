// What commands share: errors on one line, a progress bar, the model and machine options.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/thread_pool.h"
#include "kernels/ops.h"
#include "model/adapter/adapter.h"
#include "model/model.h"

namespace CLI {
class App;
}

namespace causeway::server {

// "causeway: MESSAGE" on stderr. Returns the exit code: 2 where the error's `param` names what was asked wrongly,
// else 1.
int PrintError(const Error& error);

// The whole of a file, or of standard input for "-".
Result<std::string> ReadInputFile(const std::string& path);

// "11.0 MiB", "5.77 M": for people; JSON gets the number.
std::string ReadableBytes(int64_t bytes);
std::string ReadableCount(int64_t count);

// A bar on stderr if that is a terminal, else a line every tenth. fraction in [0, 1].
class ProgressBar {
 public:
  explicit ProgressBar(std::string label);
  ~ProgressBar();
  void Show(double fraction, std::string_view detail = {});

 private:
  const std::string label_;
  const bool terminal_;
  int shown_ = -1;
};

// The options of every command that runs a model.
struct ModelOptions {
  std::string model;
  int threads = 0;
  std::string cpu_affinity = "auto";
  std::string force_kernels;
  std::string activations = "int8";
  std::string repack_cache;
};

// MODEL or --model, --force-kernels, --activations, --repack-cache, and --threads and --cpu-affinity for commands that
// compute.
struct ModelFlags {
  bool threads = true;
};
void AddModelOptions(CLI::App& command, ModelOptions& options, const ModelFlags& flags = {});

// A loaded model with what runs it.
struct Workbench {
  std::unique_ptr<const model::Model> model;
  const kernels::Ops* ops = nullptr;
  std::unique_ptr<ThreadPool> pool;
  double load_seconds = 0;
  kernels::LinearTuning tuning = {};
};
// --activations of a command.
void AddActivationsOption(CLI::App& command, std::string& activations);
Result<Workbench> MakeWorkbench(const ModelOptions& options);

// What --lora takes.
inline constexpr const char* kLoraPlaces = "a folder, or org/name in the hub's cache; NAME= before it is passed over";
// The place in it.
std::string LoraPath(const std::string& flag);
// Null for "".
Result<std::shared_ptr<const model::Adapter>> LoadLora(const Workbench& bench, const std::string& flag);

}  // namespace causeway::server
