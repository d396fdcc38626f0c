#include "server/cli/support.h"

#include <algorithm>
#include <iostream>

#include "fmt/format.h"
#include "server/config/environment.h"

namespace causeway::server {

int PrintError(const Error& error) {
  std::cerr << "causeway: " << error.message << '\n';
  return 1;
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
  ASSIGN_OR_RETURN(bench.model,
                   model::LoadModel({.model = options.model, .weights = true, .progress = {}, .hub_caches = HubCaches()}));
  bench.pool = std::make_unique<ThreadPool>(ThreadPoolOptions{.threads = options.threads, .pin = false});
  return bench;
}

}  // namespace causeway::server
