#include "server/config/derive.h"

#include <algorithm>

#include "base/check.h"
#include "fmt/format.h"
#include "server/config/environment.h"

namespace causeway::server {

LogOptions ToLogOptions(const Options& options) {
  return {.level = options.log_level, .format = options.log_format == "json" ? LogFormat::kJson : LogFormat::kText};
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
  limits.max_states = options.max_states;
  limits.max_state_dir_bytes = options.max_state_dir_size;
  limits.queue_timeout = options.queue_timeout;
  limits.request_timeout = options.request_timeout;
  limits.header_timeout = options.header_timeout;
  limits.body_timeout = options.body_timeout;
  limits.keep_alive_timeout = options.keep_alive_timeout;
  limits.write_timeout = options.write_timeout;
  limits.max_output_buffer_bytes = options.max_output_buffer;
  return limits;
}

Result<std::vector<memory::TenantLimits>> ToTenantLimits(std::span<const TenantSetting> tenants, int64_t page_bytes,
                                                         int64_t pages) {
  std::vector<memory::TenantLimits> limits;
  int64_t floors = 0;
  for (const TenantSetting& tenant : tenants) {
    memory::TenantLimits& one = limits.emplace_back();
    one.name = tenant.name;
    const int64_t floor = tenant.floor_bytes.value_or(0);
    one.floor_pages = floor / page_bytes + (floor % page_bytes == 0 ? 0 : 1);
    if (tenant.quota_bytes) {
      one.quota_pages = *tenant.quota_bytes / page_bytes;
    }
    if (one.quota_pages < std::max<int64_t>(1, one.floor_pages)) {
      return MakeError(ErrorCode::kInvalidArgument,
                       fmt::format("--tenant {}: the quota holds {} pages of {} bytes, the floor {}", tenant.name,
                                   one.quota_pages, page_bytes, one.floor_pages),
                       "tenant");
    }
    floors += one.floor_pages;  // no overflow: at most kMaxTenants of 2^53 bytes
  }
  if (floors >= pages) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("--tenant: the floors take {} pages of the KV cache's {}; one at least has to be left",
                                 floors, pages),
                     "tenant");
  }
  return limits;
}

std::vector<ApiKey> ToApiKeys(std::span<const TenantSetting> tenants) {
  std::vector<ApiKey> keys;
  for (size_t i = 0; i < tenants.size(); ++i) {
    for (const std::string& key : tenants[i].keys) {
      keys.push_back({key, static_cast<memory::TenantId>(i)});
    }
  }
  return keys;
}

model::LoadOptions ToLoadOptions(const Options& options) {
  model::LoadOptions load;
  load.model = options.model;
  load.hub_caches = HubCaches();
  load.repack_cache = options.repack_cache;
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
