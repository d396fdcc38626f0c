// What commands share: errors on one line, a progress bar, the model and machine options.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/thread_pool.h"
#include "kernels/ops.h"
#include "model/model.h"

namespace causeway::server {

// "causeway: MESSAGE" on stderr. Returns 1.
int PrintError(const Error& error);

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
  std::string force_kernels;
};

// A loaded model with what runs it.
struct Workbench {
  std::unique_ptr<const model::Model> model;
  const kernels::Ops* ops = nullptr;
  std::unique_ptr<ThreadPool> pool;
};
Result<Workbench> MakeWorkbench(const ModelOptions& options);

}  // namespace causeway::server
