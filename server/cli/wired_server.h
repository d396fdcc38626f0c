// A server's parts, wired: what `serve` listens with and `generate` runs alone.
#pragma once

#include <memory>

#include "base/result.h"
#include "memory/kv_cache.h"
#include "model/model.h"
#include "model/runner.h"
#include "scheduler/engine.h"
#include "server/api/adapters.h"
#include "server/api/app.h"
#include "server/api/control_worker.h"
#include "server/api/states.h"
#include "server/api/text_workers.h"
#include "server/config/options.h"
#include "server/config/tenants.h"
#include "server/metrics/metrics.h"
#include "server/template/template.h"

namespace causeway::server {

// Members in order of dependence: later ones use earlier ones and go first.
struct WiredServer {
  Options options;
  std::vector<TenantSetting> tenants;
  const kernels::Ops* ops = nullptr;
  std::unique_ptr<const model::Model> model;
  std::unique_ptr<ChatTemplate> chat_template;
  bool template_takes_tools = false;
  std::unique_ptr<ThreadPool> pool;
  std::unique_ptr<memory::KvCache> kv;
  std::unique_ptr<model::Runner> runner;
  std::unique_ptr<Metrics> metrics;
  std::unique_ptr<scheduler::Engine> engine;
  std::unique_ptr<StateTable> states;
  std::unique_ptr<AdapterTable> adapters;
  std::unique_ptr<App> app;
  std::unique_ptr<ControlWorker> control_worker;  // its queued jobs use the app
  std::unique_ptr<TextWorkers> text_workers;      // its queued jobs use the app
};

// Kernels, model, template, KV pool (its budget is logged), runner, engine. Nothing is made lazily later.
Result<std::unique_ptr<WiredServer>> Wire(const Options& options);

}  // namespace causeway::server
