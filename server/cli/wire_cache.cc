#include "server/cli/wire_cache.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/keyed_hash.h"
#include "base/log.h"
#include "fmt/format.h"
#include "model/fingerprint.h"
#include "server/config/derive.h"
#include "server/config/machine_memory.h"

namespace causeway::server {
namespace {

constexpr double kMiB = 1024.0 * 1024;
constexpr int64_t kDefaultDiskBytes = int64_t{8} << 30;
constexpr int64_t kReadyBytes = int64_t{32} << 20;  // of free pages that are made ahead

// Pages for --kv-cache-memory, or for every sequence at full length within half of what is free.
Result<int64_t> BudgetPages(const Options& options, const memory::KvGeometry& geometry, int64_t max_model_len) {
  if (options.kv_cache_memory) {
    const int64_t pages = *options.kv_cache_memory / geometry.page_bytes;
    if (pages < 1) {
      return MakeError(ErrorCode::kInvalidArgument,
                       fmt::format("--kv-cache-memory: one page takes {} bytes", geometry.page_bytes),
                       "kv-cache-memory");
    }
    return pages;
  }
  ASSIGN_OR_RETURN(const MachineMemory memory, ReadMachineMemory());
  const int64_t wanted = geometry.PagesFor(max_model_len) * options.max_num_seqs;
  return std::max<int64_t>(1, std::min(wanted, memory.available_bytes / 2 / geometry.page_bytes));
}

// This very binary: another build may compute other bits.
Digest BuildFingerprint() {
  std::ifstream file("/proc/self/exe", std::ios::binary);
  const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), {});
  KeyedHash hash(Digest{}, "causeway.build");
  return hash.Hash({std::as_bytes(std::span(bytes))});
}

Digest KvFingerprint(const Options& options, const model::Model& model, const kernels::Ops& ops, ThreadPool& pool,
                     const memory::KvGeometry& geometry) {
  const std::string layout =
      fmt::format("{} {} {} {} {} {}", ops.name, KvFormatName(ChooseKvFormat(options, model.info.weight_dtype)),
                  geometry.page_bytes, geometry.tokens_per_page, geometry.BytesPerToken(),
                  model.info.packed_bytes > 0 ? "int8" : "f32");
  const Digest weights = model::Fingerprint(model, pool);
  KeyedHash hash(Digest{}, "causeway.kv");
  return hash.Hash({weights, BuildFingerprint(), std::as_bytes(std::span(layout))});
}

Result<std::unique_ptr<memory::PageStore>> OpenTiers(const Options& options, const memory::KvGeometry& geometry,
                                                     const Digest& fingerprint) {
  if (options.kv_host_memory == 0 && options.kv_disk_dir.empty()) {
    if (options.kv_disk_size) {
      return MakeError(ErrorCode::kInvalidArgument, "--kv-disk-size needs --kv-disk-dir", "kv-disk-size");
    }
    return std::unique_ptr<memory::PageStore>();
  }
  if (!options.enable_prefix_caching) {
    return MakeError(ErrorCode::kInvalidArgument, "--kv-host-memory and --kv-disk-dir need --enable-prefix-caching",
                     options.kv_disk_dir.empty() ? "kv-host-memory" : "kv-disk-dir");
  }
  memory::PageStoreOptions store;
  store.page_bytes = geometry.page_bytes;
  store.tokens_per_page = geometry.tokens_per_page;
  store.host_bytes = options.kv_host_memory;
  store.folder = options.kv_disk_dir;
  store.disk_bytes = options.kv_disk_dir.empty() ? 0 : options.kv_disk_size.value_or(kDefaultDiskBytes);
  store.fingerprint = fingerprint;
  return memory::PageStore::Open(store);
}

}  // namespace

Result<WiredCache> WireCache(const Options& options, std::span<const TenantSetting> tenants, const model::Model& model,
                             const kernels::Ops& ops, ThreadPool& pool, int64_t& max_model_len) {
  const kernels::KvFormat format = ChooseKvFormat(options, model.info.weight_dtype);
  ASSIGN_OR_RETURN(const memory::KvGeometry geometry,
                   memory::ChooseGeometry(model.KvShape(kernels::KvFormatBytes(format)), 4096));
  ASSIGN_OR_RETURN(const int64_t pages, BudgetPages(options, geometry, max_model_len));
  max_model_len = std::min(max_model_len, pages * geometry.tokens_per_page);
  WiredCache wired;
  if (!options.kv_disk_dir.empty() || !options.state_dir.empty()) {
    wired.fingerprint = KvFingerprint(options, model, ops, pool, geometry);
  }
  ASSIGN_OR_RETURN(auto store, OpenTiers(options, geometry, wired.fingerprint));
  wired.tiers = store.get();
  memory::KvCacheOptions cache{.geometry = geometry,
                               .max_pages = pages,
                               .max_spans = options.max_num_seqs,
                               .positions_per_span = max_model_len,
                               .prefix_key = store != nullptr ? store->prefix_key() : RandomKey()};
  ASSIGN_OR_RETURN(cache.tenants, ToTenantLimits(tenants, geometry.page_bytes, pages));
  cache.prefix_spelling = memory::kLinuxPrefixSpelling;
  cache.ready_pages = std::clamp<int64_t>(kReadyBytes / geometry.page_bytes, 1, std::max<int64_t>(1, pages / 8));
  memory::KvCacheParts parts;
  parts.tier = std::move(store);
  parts.control = std::make_unique<memory::MemoryControl>();
  parts.mover = std::make_unique<memory::MemoryControl>();
  ASSIGN_OR_RETURN(auto backend, memory::MakeLinuxBackend({.page_bytes = geometry.page_bytes,
                                                           .max_pages = pages,
                                                           .huge_pages = options.kv_huge_pages == "never"
                                                                             ? memory::HugePages::kNever
                                                                             : memory::HugePages::kAuto}));
  ASSIGN_OR_RETURN(wired.kv, memory::KvCache::Create(cache, std::move(backend), std::move(parts)));
  LOG_INFO("KV cache: {} pages of {} tokens ({} KiB each), {:.1f} MiB, {} bytes a token in {}; {}", pages,
           geometry.tokens_per_page, geometry.page_bytes / 1024,
           static_cast<double>(pages * geometry.page_bytes) / kMiB, geometry.BytesPerToken(), KvFormatName(format),
           wired.kv->backend().Describe());
  return wired;
}

}  // namespace causeway::server
