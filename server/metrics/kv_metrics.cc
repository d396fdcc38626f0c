#include "server/metrics/kv_metrics.h"

#include <initializer_list>
#include <string>
#include <utility>

#include <prometheus/counter.h>
#include <prometheus/gauge.h>

#include "server/metrics/raise_to.h"

namespace causeway::server {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;

constexpr std::pair<const char*, memory::PageClass> kCharged[] = {{"live", memory::PageClass::kLive},
                                                                  {"pinned", memory::PageClass::kPinned},
                                                                  {"moving", memory::PageClass::kMoving},
                                                                  {"cached", memory::PageClass::kCached}};
// In the order of memory::DropReason and scheduler::PrefixLoss.
constexpr const char* kDropReasons[memory::kDropReasons] = {"no_tier", "not_worth", "refused"};
constexpr const char* kLosses[scheduler::kPrefixLosses] = {"never", "evicted", "partial", "scored"};

}  // namespace

struct KvMetrics::Impl {
  Impl(prometheus::Registry& to, const prometheus::Labels& common) : registry(to), labels(common) {}

  Family<Gauge>& Gauges(const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
  }
  Family<Counter>& Counters(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
  }
  prometheus::Labels With(std::initializer_list<std::pair<const char*, std::string>> more) const {
    prometheus::Labels all = labels;
    for (const auto& [name, value] : more) {
      all[name] = value;
    }
    return all;
  }

  void SetPages(const memory::KvCacheStats& kv) {
    const std::pair<const char*, int64_t> classes[] = {{"live", kv.live_pages},     {"pinned", kv.pinned_pages},
                                                       {"moving", kv.moving_pages}, {"cached", kv.cached_pages},
                                                       {"parked", kv.parked_pages}, {"free", kv.free_pages()}};
    for (const auto& [name, count] : classes) {
      pages.Add(With({{"class", name}})).Set(static_cast<double>(count));
    }
  }

  void SetTenants(const std::vector<TenantFigures>& tenants) {
    for (const TenantFigures& tenant : tenants) {
      for (const auto& [name, one] : kCharged) {
        tenant_pages.Add(With({{"tenant", tenant.limits.name}, {"class", name}}))
            .Set(static_cast<double>(tenant.pages[one]));
      }
    }
  }

  void SetCounters(const MemoryFigures& figures) {
    const memory::KvCacheStats& kv = figures.kv;
    RaiseTo(map_calls.Add(With({{"thread", "engine"}})), kv.map_calls);
    RaiseTo(map_calls.Add(With({{"thread", "control"}})), kv.ahead_calls);
    RaiseTo(unmap_calls, kv.unmap_calls);
    RaiseTo(spilled, kv.spilled_pages);
    RaiseTo(restored, kv.restored_pages);
    RaiseTo(lost, kv.lost_pages);
    for (size_t i = 0; i < memory::kDropReasons; ++i) {
      RaiseTo(dropped.Add(With({{"reason", kDropReasons[i]}})), kv.dropped_pages[i]);
    }
    for (size_t i = 0; i < scheduler::kPrefixLosses; ++i) {
      RaiseTo(lost_tokens.Add(With({{"reason", kLosses[i]}})), figures.engine.prefix_lost_tokens[i]);
    }
  }

  void SetTiers(const memory::PageStoreStats& store) {
    for (const auto& [name, tier] : {std::pair("host", memory::Tier::kHost), std::pair("disk", memory::Tier::kDisk)}) {
      const memory::TierStats& stats = store.tier(tier);
      if (stats.capacity_bytes > 0) {
        tier_bytes.Add(With({{"tier", name}})).Set(static_cast<double>(stats.bytes));
        RaiseTo(tier_reads.Add(With({{"tier", name}})), static_cast<uint64_t>(stats.pages_read));
        RaiseTo(tier_evictions.Add(With({{"tier", name}})), static_cast<uint64_t>(stats.evictions));
      }
    }
    for (size_t i = 0; i < memory::kPageLosses; ++i) {
      const std::string reason(memory::PageLossName(static_cast<memory::PageLoss>(i)));
      RaiseTo(tier_losses.Add(With({{"reason", reason}})), static_cast<uint64_t>(store.losses[i]));
    }
    RaiseTo(tier_corrupt.Add(labels), static_cast<uint64_t>(store.corrupt));
  }

  // vLLM's gauge tells by its labels which adapters are in use, and by its value since when it says so.
  void SetAdapters(const AdapterFigures& figures) {
    adapters.Set(static_cast<double>(figures.loaded));
    adapter_bytes.Set(static_cast<double>(figures.bytes));
    Gauge* const before = lora_info;
    lora_info = &lora_infos.Add(With({{"max_lora", std::to_string(figures.max)},
                                      {"running_lora_adapters", figures.running},
                                      {"waiting_lora_adapters", figures.waiting}}));
    lora_info->SetToCurrentTime();
    if (before != nullptr && before != lora_info) {
      lora_infos.Remove(before);
    }
  }

  prometheus::Registry& registry;
  const prometheus::Labels labels;
  Family<Gauge>& pages = Gauges("causeway:kv_pages", "KV pages by class; the sum is the budget");
  Family<Gauge>& tenant_pages = Gauges("causeway:kv_tenant_pages", "KV pages that a tenant is charged for");
  Gauge& physical = Gauges("causeway:kv_physical_bytes", "Memory of the KV cache, as the system counts it").Add(labels);
  Gauge& mappings = Gauges("causeway:kv_mappings", "Runs of KV pages that are mapped").Add(labels);
  Gauge& states = Gauges("causeway:states", "Named states").Add(labels);
  Gauge& adapters = Gauges("causeway:lora_adapters", "LoRA adapters that requests can name").Add(labels);
  Gauge& adapter_bytes =
      Gauges("causeway:lora_bytes", "Memory of LoRA adapters, unloaded ones that are in use among them").Add(labels);
  Family<Gauge>& lora_infos = Gauges("vllm:lora_requests_info", "LoRA adapters in use; the value is the time");
  Gauge* lora_info = nullptr;  // the one of lora_infos
  Gauge& asleep = Gauges("causeway:asleep", "1 while the engine sleeps").Add(labels);
  Family<Gauge>& tier_bytes = Gauges("causeway:kv_tier_bytes", "Bytes of KV pages in a tier");
  Family<Counter>& tier_reads = Counters("causeway:kv_tier_read_pages_total", "KV pages read from a tier");
  Family<Counter>& tier_evictions =
      Counters("causeway:kv_tier_evicted_pages_total", "KV pages that made room in a tier");
  Family<Counter>& tier_losses =
      Counters("causeway:kv_tier_lost_pages_total", "KV pages that a tier did not keep, by reason");
  Family<Counter>& tier_corrupt =
      Counters("causeway:kv_tier_corrupt_pages_total", "KV pages on disk whose checksum did not hold");
  Family<Counter>& map_calls = Counters("causeway:kv_map_calls_total", "Calls that map KV pages");
  Counter& unmap_calls = Counters("causeway:kv_unmap_calls_total", "Calls that unmap KV pages").Add(labels);
  Counter& spilled = Counters("causeway:kv_spilled_pages_total", "KV pages that left for a tier").Add(labels);
  Counter& restored = Counters("causeway:kv_restored_pages_total", "KV pages that came back from a tier").Add(labels);
  Counter& lost = Counters("causeway:kv_lost_pages_total", "KV pages that a tier named and could not read").Add(labels);
  Family<Counter>& dropped = Counters("causeway:kv_dropped_pages_total", "KV pages that left for no tier, by reason");
  Family<Counter>& lost_tokens = Counters("causeway:prefix_lost_tokens_total",
                                          "Prompt tokens computed although the prefix cache was asked, by reason");
};

KvMetrics::KvMetrics(prometheus::Registry& registry, const prometheus::Labels& labels)
    : impl_(std::make_unique<Impl>(registry, labels)) {}
KvMetrics::~KvMetrics() = default;

void KvMetrics::Set(const MemoryFigures& figures) {
  impl_->SetPages(figures.kv);
  impl_->SetTenants(figures.tenants);
  impl_->SetCounters(figures);
  if (figures.tiers) {
    impl_->SetTiers(*figures.tiers);
  }
  impl_->physical.Set(static_cast<double>(figures.physical_bytes));
  impl_->mappings.Set(static_cast<double>(figures.kv.mappings));
  impl_->states.Set(static_cast<double>(figures.states));
  impl_->SetAdapters(figures.adapters);
  impl_->asleep.Set(figures.engine.asleep ? 1 : 0);
}

}  // namespace causeway::server
