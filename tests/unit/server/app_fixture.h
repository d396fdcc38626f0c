// An App without weights: the built-in model's tokenizer and template, and an engine whose every step fails.
#pragma once

#include <memory>
#include <utility>

#include <gtest/gtest.h>

#include "model/model.h"
#include "model/network.h"
#include "model/tokenizer/tokenizer.h"
#include "scheduler/executor.h"
#include "server/api/adapters.h"
#include "server/api/app.h"
#include "server/api/control_worker.h"
#include "server/api/states.h"
#include "server/api/text_workers.h"
#include "server/metrics/metrics.h"
#include "tests/support/kv_fixtures.h"

namespace causeway::server {

class FailingExecutor final : public scheduler::Executor {
 public:
  void Launch(const scheduler::Plan&) override {}
  auto Await() -> decltype(std::declval<scheduler::Executor&>().Await()) override {
    return MakeError(ErrorCode::kInternal, "there are no weights");
  }
};

class AppTest : public testing::Test {
 protected:
  AppTest() : model_(Load()), cache_(memory::MakeMockedCache(memory::TestCacheOptions(8, 2, 4))) {
    scheduler::EngineOptions options;
    options.limits = {.vocab = static_cast<int64_t>(model_->tokenizer->vocab_size()),
                      .max_model_len = 64,
                      .max_n = 8,
                      .max_logprobs = 5};
    options.max_num_seqs = 2;
    engine_ = std::make_unique<scheduler::Engine>(options, *cache_.cache, executor_);
    app_ = std::unique_ptr<App>(new App{.model = *model_,  // NOLINT: an aggregate with an atomic cannot be moved
                                        .chat_template = nullptr,
                                        .template_takes_tools = false,
                                        .engine = *engine_,
                                        .kv = *cache_.cache,
                                        .limits = options.limits,
                                        .text_workers = workers_,
                                        .states = states_,
                                        .adapters = adapters_,
                                        .control_worker = control_worker_,
                                        .metrics = metrics_,
                                        .served_names = {"fable", "alias"},
                                        .api_keys = {},
                                        .system_fingerprint = "test",
                                        .kv_fingerprint = {},
                                        .kv_switch_length = 0,
                                        .state_dir = {},
                                        .lora_dir = {},
                                        .admin_endpoints = false,
                                        .tiers = nullptr,
                                        .server_limits = {},
                                        .defaults = {}});
    app_->server_limits.max_prompts_per_request = 3;
    app_->server_limits.max_tools = 2;
  }

  const App& app() const { return *app_; }
  App& app() { return *app_; }

  Metrics metrics_{"fable"};

 private:
  static std::unique_ptr<const model::Model> Load() {
    model::LoadOptions options;
    options.weights = false;
    auto model = model::LoadModel(options);
    EXPECT_TRUE(model.ok()) << model.error().message;
    return std::move(model).value();
  }

  std::unique_ptr<const model::Model> model_;
  memory::MockedCache cache_;
  FailingExecutor executor_;
  std::unique_ptr<scheduler::Engine> engine_;
  StateTable states_{8, [this] { control_worker_.Notify(); }};
  AdapterTable adapters_{nullptr, {}};
  std::unique_ptr<App> app_;
  ControlWorker control_worker_{16, [this](Instant now) { return states_.Expire(now); }};
  TextWorkers workers_{1, 16};
};

}  // namespace causeway::server
