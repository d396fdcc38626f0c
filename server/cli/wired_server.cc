#include "server/cli/wired_server.h"

#include <algorithm>
#include <fstream>
#include <iterator>

#include "base/log.h"
#include "fmt/format.h"
#include "model/network.h"
#include "model/tokenizer/tokenizer.h"
#include "server/cli/wire_cache.h"
#include "server/config/compute_threads.h"
#include "server/config/derive.h"

namespace causeway::server {
namespace {

constexpr size_t kMostControlJobs = 64;  // saves, loads, sleeps and the like that wait
constexpr double kMiB = 1024.0 * 1024;

Result<void> MakeTemplate(const Options& options, WiredServer& server) {
  std::string source = server.model->chat.template_source;
  if (!options.chat_template.empty()) {
    std::ifstream file(options.chat_template, std::ios::binary);
    if (!file.good()) {
      return MakeError(ErrorCode::kNotFound, "cannot read " + options.chat_template, "chat-template");
    }
    source.assign(std::istreambuf_iterator<char>(file), {});
  }
  if (source.empty()) {
    LOG_INFO("chat template: none; chats are refused, completions are served");
    return {};
  }
  auto parsed = ChatTemplate::Parse(source);
  if (!parsed.ok()) {
    return parsed.error().WithContext("chat template");
  }
  server.chat_template = std::make_unique<ChatTemplate>(std::move(parsed).value());
  server.template_takes_tools = source.find("tools") != std::string::npos;
  const std::string& tool_source = server.model->chat.tool_template_source;
  if (options.chat_template.empty() && !tool_source.empty()) {
    auto for_tools = ChatTemplate::Parse(tool_source);
    if (!for_tools.ok()) {
      return for_tools.error().WithContext("chat template for tools");
    }
    server.chat_template->UseForTools(std::move(for_tools).value());
    server.template_takes_tools = true;
  }
  return {};
}

std::vector<std::string> ServedNames(const Options& options, const model::Model& model) {
  return options.served_model_name.empty() ? std::vector<std::string>{model.info.name} : options.served_model_name;
}

// The table of adapters, with those of --lora-modules.
Result<void> MakeAdapters(const Options& options, WiredServer& server) {
  server.adapters = std::make_unique<AdapterTable>(
      server.model->network.get(), AdapterSettings{.max_adapters = options.max_loras,
                                                   .max_rank = options.max_lora_rank,
                                                   .hub_caches = ToLoadOptions(options).hub_caches,
                                                   .reserved_names = ServedNames(options, *server.model)});
  for (const std::string& text : options.lora_modules) {
    ASSIGN_OR_RETURN(const AdapterSpec spec, ParseAdapterSpec(text));
    if (auto loaded = server.adapters->Load(spec.name, spec.path, false); !loaded.ok()) {
      Error error = loaded.error().WithContext("--lora-modules " + text);
      error.param = "lora-modules";
      return error;
    }
  }
  return {};
}

void MakeApp(WiredServer& server, const WiredCache& cache, const scheduler::ModelLimits& limits,
             kernels::KvFormat format) {
  server.app = std::unique_ptr<App>(new App{
      // NOLINT: an aggregate with an atomic cannot be moved into place
      .model = *server.model,
      .chat_template = server.chat_template.get(),
      .template_takes_tools = server.template_takes_tools,
      .engine = *server.engine,
      .kv = *server.kv,
      .limits = limits,
      .text_workers = *server.text_workers,
      .states = *server.states,
      .adapters = *server.adapters,
      .control_worker = *server.control_worker,
      .metrics = *server.metrics,
      .served_names = ServedNames(server.options, *server.model),
      .api_keys = ToApiKeys(server.tenants),
      .system_fingerprint = fmt::format("causeway-{}-{}-{}{}", CAUSEWAY_VERSION, server.ops->name, KvFormatName(format),
                                        server.model->info.packed_bytes > 0 ? "-int8" : ""),
      .kv_fingerprint = cache.fingerprint,
      .kv_switch_length = server.model->KvSwitchLength(),
      .state_dir = server.options.state_dir,
      .lora_dir = server.options.lora_dir,
      .admin_endpoints = server.options.enable_admin_endpoints,
      .tiers = cache.tiers,
      .server_limits = ToServerLimits(server.options),
      .defaults = ApplyOverrides(server.options, server.model->generation)});
}

}  // namespace

Result<std::unique_ptr<WiredServer>> Wire(const Options& options) {
  auto server = std::make_unique<WiredServer>();
  server->options = options;
  ASSIGN_OR_RETURN(server->tenants, ParseTenants(options.tenant, options.api_key));
  ASSIGN_OR_RETURN(server->ops, kernels::SelectOps(options.force_kernels));
  LOG_INFO("kernels: {} ({})", server->ops->name, server->ops->description);
  model::LoadOptions load = ToLoadOptions(options);
  load.progress = [](double fraction, std::string_view what) { LOG_INFO("model: {:3.0f}% {}", 100 * fraction, what); };
  ASSIGN_OR_RETURN(const ThreadPoolOptions pool, ToThreadPoolOptions(options.threads, options.cpu_affinity));
  server->pool = std::make_unique<ThreadPool>(pool);
  load.pack_on = options.activations == "int8" ? server->pool.get() : nullptr;
  ASSIGN_OR_RETURN(server->model, model::LoadModel(load));
  const model::ModelInfo& info = server->model->info;
  LOG_INFO("model: {} ({}), {:.1f} M parameters, {:.1f} MiB of weights, context {}", info.name, info.family,
           static_cast<double>(info.parameters) / 1e6, static_cast<double>(info.weight_bytes) / kMiB,
           info.context_length);
  if (info.packed_bytes > 0) {
    LOG_INFO("model: {:.1f} MiB of weights {} in {:.2f} s", static_cast<double>(info.packed_bytes) / kMiB,
             info.pack.cached ? "mapped from the repack cache" : "repacked for int8 activations",
             info.pack.seconds + info.pack.memory_seconds);
  }
  TRY(MakeTemplate(options, *server));
  TRY(MakeAdapters(options, *server));
  scheduler::ModelLimits limits;
  limits.vocab = info.vocab;
  limits.max_model_len = std::min(options.max_model_len.value_or(info.context_length), info.context_length);
  limits.max_n = static_cast<int>(options.max_n);
  limits.max_logprobs = static_cast<int>(options.max_logprobs);
  const kernels::KvFormat format = ChooseKvFormat(options, info.weight_dtype);
  ASSIGN_OR_RETURN(WiredCache cache, WireCache(options, server->tenants, *server->model, *server->ops, *server->pool,
                                               limits.max_model_len));
  server->kv = std::move(cache.kv);
  const model::RunnerOptions runner{
      .geometry = server->kv->geometry(),
      .kv_format = format,
      .max_batched_tokens = std::max(options.max_num_batched_tokens, options.max_num_seqs),
      .max_num_seqs = options.max_num_seqs,
      .tuning = kernels::TuneLinear(kernels::MeasureShape(*server->pool, *server->ops))};
  LOG_INFO("tuned: {}", runner.tuning.Describe());
  LOG_INFO("activations: {:.1f} MiB, computed by {}", static_cast<double>(RunnerBytes(*server->model, runner)) / kMiB,
           server->pool->Describe());
  server->runner = std::make_unique<model::Runner>(*server->model, *server->ops, *server->pool, runner);
  server->metrics =
      std::make_unique<Metrics>(options.served_model_name.empty() ? info.name : options.served_model_name.front());
  server->metrics->SetCacheConfig(server->kv->geometry().tokens_per_page, server->kv->options().max_pages);
  scheduler::EngineOptions engine = ToEngineOptions(options, limits);
  engine.kv_switch_length = server->model->KvSwitchLength();
  server->engine = std::make_unique<scheduler::Engine>(
      engine, *server->kv, *server->runner,
      [metrics = server->metrics.get()](const scheduler::StepStats& step) { metrics->ObserveStep(step); });
  const int workers = options.text_workers > 0 ? static_cast<int>(options.text_workers) : 2;
  server->text_workers = std::make_unique<TextWorkers>(workers, static_cast<size_t>(options.max_queued_requests));
  // A state's end may be nearer than the one that the worker waits for.
  server->states =
      std::make_unique<StateTable>(options.max_states, [raw = server.get()] { raw->control_worker->Notify(); });
  server->control_worker = std::make_unique<ControlWorker>(
      kMostControlJobs, [states = server->states.get(), adapters = server->adapters.get()](Instant now) {
        return std::min(states->Expire(now), adapters->Reap(now));
      });
  MakeApp(*server, cache, limits, format);
  return server;
}

}  // namespace causeway::server
