// From settings to the options of each part of the server.
#pragma once

#include <string>

#include "base/log.h"
#include "kernels/ops.h"
#include "memory/tenant.h"
#include "model/model.h"
#include "scheduler/engine.h"
#include "server/api/app.h"
#include "server/config/options.h"
#include "server/config/tenants.h"

namespace causeway::server {

LogOptions ToLogOptions(const Options& options);
ServerLimits ToServerLimits(const Options& options);
// In pages, of a cache of `pages`; floors are rounded up, quotas down. kInvalidArgument where the floors leave nothing
// to share, or a quota no page.
Result<std::vector<memory::TenantLimits>> ToTenantLimits(std::span<const TenantSetting> tenants, int64_t page_bytes,
                                                         int64_t pages);
// Every key with the tenant that its requests belong to.
std::vector<ApiKey> ToApiKeys(std::span<const TenantSetting> tenants);
// Without `progress`.
model::LoadOptions ToLoadOptions(const Options& options);
scheduler::EngineOptions ToEngineOptions(const Options& options, const scheduler::ModelLimits& limits);

// The model's generation config (unless --generation-config none) with the settings laid over it.
model::GenerationDefaults ApplyOverrides(const Options& options, model::GenerationDefaults defaults);

// --kv-cache-dtype for a model whose weights are mostly of `weight_dtype` ("f32", "bf16", ...).
kernels::KvFormat ChooseKvFormat(const Options& options, const std::string& weight_dtype);
std::string_view KvFormatName(kernels::KvFormat format);

}  // namespace causeway::server
