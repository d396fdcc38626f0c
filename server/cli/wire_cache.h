// The KV cache of a server: geometry, budget, backend, tiers and the threads that help it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"
#include "base/thread_pool.h"
#include "kernels/ops.h"
#include "memory/kv_cache.h"
#include "memory/tier/page_store.h"
#include "model/model.h"
#include "server/config/options.h"
#include "server/config/tenants.h"

namespace causeway::server {

struct WiredCache {
  std::unique_ptr<memory::KvCache> kv;
  const memory::PageStore* tiers = nullptr;  // kv's own; null: none
  Digest fingerprint{};  // of all that KV bytes depend on; only where something outlives the process (else zeros)
};

// `max_model_len` becomes what the cache can hold, if that is less. The budget is logged.
Result<WiredCache> WireCache(const Options& options, std::span<const TenantSetting> tenants, const model::Model& model,
                             const kernels::Ops& ops, ThreadPool& pool, int64_t& max_model_len);

}  // namespace causeway::server
