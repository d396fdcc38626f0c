#include "server/api/memory_report.h"

#include <limits>
#include <string>
#include <utility>

#include "server/api/adapters.h"
#include "server/api/states.h"

namespace causeway::server {
namespace {

OrderedJson PagesJson(const memory::KvCacheStats& kv) {
  return {{"live", kv.live_pages},     {"pinned", kv.pinned_pages}, {"moving", kv.moving_pages},
          {"cached", kv.cached_pages}, {"parked", kv.parked_pages}, {"free", kv.free_pages()}};
}

// Free and parked pages are nobody's.
OrderedJson TenantJson(const TenantFigures& tenant) {
  using memory::PageClass;
  const bool limited = tenant.limits.quota_pages != std::numeric_limits<int64_t>::max();
  return {{"name", tenant.limits.name},
          {"floor_pages", tenant.limits.floor_pages},
          {"quota_pages", limited ? OrderedJson(tenant.limits.quota_pages) : OrderedJson(nullptr)},
          {"pages",
           {{"live", tenant.pages[PageClass::kLive]},
            {"pinned", tenant.pages[PageClass::kPinned]},
            {"moving", tenant.pages[PageClass::kMoving]},
            {"cached", tenant.pages[PageClass::kCached]}}}};
}

// Tiers whose capacity is 0 are not there.
OrderedJson TiersJson(const memory::PageStoreStats& store) {
  OrderedJson losses = OrderedJson::object();
  for (size_t i = 0; i < memory::kPageLosses; ++i) {
    losses[std::string(memory::PageLossName(static_cast<memory::PageLoss>(i)))] = store.losses[i];
  }
  OrderedJson body = {{"pages", store.pages},
                      {"stored_pages", store.puts},
                      {"lost_pages", std::move(losses)},
                      {"corrupt_pages", store.corrupt},
                      {"read_errors", store.read_errors},
                      {"write_errors", store.write_errors},
                      {"queued_writes", store.queued_writes}};
  for (const auto& [name, tier] : {std::pair("host", memory::Tier::kHost), std::pair("disk", memory::Tier::kDisk)}) {
    const memory::TierStats& stats = store.tier(tier);
    if (stats.capacity_bytes > 0) {
      body[name] = {{"pages", stats.pages},
                    {"bytes", stats.bytes},
                    {"capacity_bytes", stats.capacity_bytes},
                    {"evicted_pages", stats.evictions},
                    {"read_pages", stats.pages_read},
                    {"read_bytes_per_second", stats.read_bytes_per_s},
                    {"write_bytes_per_second", stats.write_bytes_per_s}};
    }
  }
  return body;
}

}  // namespace

MemoryFigures ReadMemory(const App& app) {
  MemoryFigures figures;
  figures.kv = app.kv.Stats();
  figures.page_tokens = app.kv.geometry().tokens_per_page;
  figures.max_pages = app.kv.options().max_pages;
  figures.physical_bytes = app.kv.backend().PhysicalBytes();
  for (size_t i = 0; i < app.kv.tenants().size(); ++i) {
    figures.tenants.push_back({app.kv.tenants()[i], app.kv.TenantStats(static_cast<memory::TenantId>(i))});
  }
  if (app.tiers != nullptr) {
    figures.tiers = app.tiers->Stats();
  }
  figures.states = app.states.size();
  figures.max_states = app.server_limits.max_states;
  figures.adapters = app.adapters.Figures();
  figures.engine = app.engine.Stats();
  return figures;
}

OrderedJson MemoryJson(const MemoryFigures& figures) {
  const memory::KvCacheStats& kv = figures.kv;
  const auto dropped = [&](memory::DropReason reason) { return kv.dropped_pages[static_cast<size_t>(reason)]; };
  const auto lost = [&](scheduler::PrefixLoss loss) {
    return figures.engine.prefix_lost_tokens[static_cast<size_t>(loss)];
  };
  OrderedJson body = {
      {"object", "memory"},
      {"asleep", figures.engine.asleep},
      {"page_bytes", kv.page_bytes},
      {"page_tokens", figures.page_tokens},
      {"budget",
       {{"pages", kv.budget_pages}, {"bytes", kv.budget_pages * kv.page_bytes}, {"max_pages", figures.max_pages}}},
      {"pages", PagesJson(kv)},
      {"tenants", OrderedJson::array()},
      {"physical", {{"pages", kv.created_pages}, {"making_pages", kv.making_pages}, {"bytes", figures.physical_bytes}}},
      {"mappings", kv.mappings},
      {"map_calls", {{"engine", kv.map_calls}, {"control", kv.ahead_calls}}},
      {"unmap_calls", kv.unmap_calls},
      {"spilled_pages", kv.spilled_pages},
      {"restored_pages", kv.restored_pages},
      {"lost_pages", kv.lost_pages},
      {"dropped_pages",
       {{"no_tier", dropped(memory::DropReason::kNoTier)},
        {"not_worth", dropped(memory::DropReason::kNotWorth)},
        {"refused", dropped(memory::DropReason::kRefused)}}},
      {"prefix",
       {{"query_tokens", figures.engine.prefix_query_tokens},
        {"hit_tokens", figures.engine.prefix_hit_tokens},
        {"lost_tokens",
         {{"never", lost(scheduler::PrefixLoss::kNever)},
          {"evicted", lost(scheduler::PrefixLoss::kEvicted)},
          {"partial", lost(scheduler::PrefixLoss::kPartial)},
          {"scored", lost(scheduler::PrefixLoss::kScored)}}}}},
      {"tiers", figures.tiers ? TiersJson(*figures.tiers) : OrderedJson(nullptr)},
      {"states",
       {{"count", figures.states},
        {"max", figures.max_states},
        {"max_pinned_pages", figures.engine.most_pinned_pages}}},
      {"adapters",
       {{"count", figures.adapters.loaded},
        {"unloading", figures.adapters.unloading},
        {"max", figures.adapters.max},
        {"bytes", figures.adapters.bytes}}}};
  for (const TenantFigures& tenant : figures.tenants) {
    body["tenants"].push_back(TenantJson(tenant));
  }
  return body;
}

}  // namespace causeway::server
