#include "server/config/derive.h"

#include "base/check.h"
#include "server/config/environment.h"

namespace causeway::server {

LogOptions ToLogOptions(const Options& options) {
  return {.level = options.log_level, .format = options.log_format == "json" ? LogFormat::kJson : LogFormat::kText};
}

ThreadPoolOptions ToThreadPoolOptions(const Options& options) {
  return {.threads = static_cast<int>(options.threads), .pin = options.pin_threads};
}

ServerLimits ToServerLimits(const Options& options) {
  ServerLimits limits;
  limits.max_body_bytes = options.max_body_size;
  limits.max_header_bytes = options.max_header_size;
  limits.max_connections = options.max_connections;
  limits.max_prompts_per_request = options.max_prompts_per_request;
  limits.max_stop_strings = options.max_stop_strings;
  limits.max_stop_bytes = options.max_stop_size;
  limits.max_tools = options.max_tools;
  limits.queue_timeout = options.queue_timeout;
  limits.request_timeout = options.request_timeout;
  limits.header_timeout = options.header_timeout;
  limits.body_timeout = options.body_timeout;
  limits.keep_alive_timeout = options.keep_alive_timeout;
  limits.write_timeout = options.write_timeout;
  limits.max_output_buffer_bytes = options.max_output_buffer;
  return limits;
}

model::LoadOptions ToLoadOptions(const Options& options) {
  model::LoadOptions load;
  load.model = options.model;
  load.hub_caches = HubCaches();
  return load;
}

scheduler::EngineOptions ToEngineOptions(const Options& options, const scheduler::ModelLimits& limits) {
  scheduler::EngineOptions engine;
  engine.limits = limits;
  engine.max_num_seqs = options.max_num_seqs;
  engine.max_num_batched_tokens = options.max_num_batched_tokens;
  engine.max_prefill_stall_steps = options.max_prefill_stall_steps;
  engine.prefix_caching = options.enable_prefix_caching;
  engine.max_queued_requests = options.max_queued_requests;
  engine.max_queued_tokens = options.max_queued_tokens;
  engine.idle_trim = options.kv_idle_trim;
  return engine;
}

model::GenerationDefaults ApplyOverrides(const Options& options, model::GenerationDefaults defaults) {
  if (options.generation_config == "none") {
    model::GenerationDefaults bare;
    bare.eos_ids = std::move(defaults.eos_ids);
    defaults = std::move(bare);
  }
  const auto overlay = [](auto& field, const auto& setting) {
    if (setting) {
      using Value = typename std::decay_t<decltype(field)>::value_type;
      field = static_cast<Value>(*setting);
    }
  };
  overlay(defaults.temperature, options.temperature);
  overlay(defaults.top_k, options.top_k);
  overlay(defaults.top_p, options.top_p);
  overlay(defaults.min_p, options.min_p);
  overlay(defaults.repetition_penalty, options.repetition_penalty);
  return defaults;
}

kernels::KvFormat ChooseKvFormat(const Options& options, const std::string& weight_dtype) {
  if (options.kv_cache_dtype == "auto") {
    return weight_dtype == "f32" ? kernels::KvFormat::kF32 : kernels::KvFormat::kF16;
  }
  if (options.kv_cache_dtype == "f32") {
    return kernels::KvFormat::kF32;
  }
  return options.kv_cache_dtype == "f16" ? kernels::KvFormat::kF16 : kernels::KvFormat::kBF16;
}

std::string_view KvFormatName(kernels::KvFormat format) {
  switch (format) {
    case kernels::KvFormat::kF32: return "f32";
    case kernels::KvFormat::kF16: return "f16";
    case kernels::KvFormat::kBF16: return "bf16";
  }
  CHECK_MSG(false, "unknown KV format");
}

}  // namespace causeway::server
