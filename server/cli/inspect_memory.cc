#include "server/cli/inspect_memory.h"

#include <chrono>
#include <iostream>
#include <string_view>

#include "base/json.h"
#include "fmt/format.h"
#include "server/cli/bench_serve/http_client.h"
#include "server/cli/support.h"

namespace causeway::server {
namespace {

constexpr std::chrono::seconds kPatience(10);
constexpr const char* kClasses[] = {"live", "pinned", "moving", "cached", "parked", "free"};

Result<OrderedJson> FetchMemory(const std::string& url, const std::string& api_key) {
  ASSIGN_OR_RETURN(bench::Target target, bench::ParseUrl(url));
  target.api_key = api_key;
  ASSIGN_OR_RETURN(const bench::Reply reply, bench::Fetch(target, "/v1/memory", "", kPatience));
  if (reply.status != 200) {
    return MakeError(ErrorCode::kUnavailable, fmt::format("{} answers {} to GET /v1/memory{}", url, reply.status,
                                                          reply.status == 401 ? ": --api-key gives a key" : ""));
  }
  ASSIGN_OR_RETURN(OrderedJson memory, ParseOrderedJson(reply.body));
  const auto object = memory.find("object");
  if (object == memory.end() || *object != "memory") {
    return MakeError(ErrorCode::kUnsupported, url + " is no causeway server");
  }
  return memory;
}

void PrintPages(std::string_view name, int64_t pages, int64_t budget, int64_t page_bytes) {
  std::cout << fmt::format("  {:<18}{:>10}{:>14}{:>9.1f} %\n", name, pages, ReadableBytes(pages * page_bytes),
                           budget > 0 ? 100.0 * static_cast<double>(pages) / static_cast<double>(budget) : 0.0);
}

void PrintTenants(const OrderedJson& tenants) {
  std::cout << fmt::format("tenant                  live    pinned    moving    cached     floor     quota\n");
  for (const OrderedJson& tenant : tenants) {
    const OrderedJson& pages = tenant["pages"];
    const OrderedJson& quota = tenant["quota_pages"];
    std::cout << fmt::format("  {:<16}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}\n", tenant["name"].get<std::string>(),
                             pages["live"].get<int64_t>(), pages["pinned"].get<int64_t>(),
                             pages["moving"].get<int64_t>(), pages["cached"].get<int64_t>(),
                             tenant["floor_pages"].get<int64_t>(),
                             quota.is_null() ? "none" : std::to_string(quota.get<int64_t>()));
  }
}

void PrintTiers(const OrderedJson& tiers) {
  for (const char* const name : {"host", "disk"}) {
    if (const auto tier = tiers.find(name); tier != tiers.end()) {
      std::cout << fmt::format("{:<20}{:>10} pages, {} of {}; {} read back, {} made room\n", name,
                               (*tier)["pages"].get<int64_t>(), ReadableBytes((*tier)["bytes"].get<int64_t>()),
                               ReadableBytes((*tier)["capacity_bytes"].get<int64_t>()),
                               (*tier)["read_pages"].get<int64_t>(), (*tier)["evicted_pages"].get<int64_t>());
    }
  }
}

void PrintTable(const OrderedJson& memory) {
  const auto page_bytes = memory["page_bytes"].get<int64_t>();
  const auto budget = memory["budget"]["pages"].get<int64_t>();
  std::cout << fmt::format("pages of {} tokens, {}{}\n", memory["page_tokens"].get<int64_t>(),
                           ReadableBytes(page_bytes), memory["asleep"].get<bool>() ? "; asleep" : "");
  std::cout << fmt::format("{:<20}{:>10}{:>14}\n", "class", "pages", "bytes");
  for (const char* const name : kClasses) {
    PrintPages(name, memory["pages"][name].get<int64_t>(), budget, page_bytes);
  }
  PrintPages("budget", budget, budget, page_bytes);
  PrintTenants(memory["tenants"]);
  if (!memory["tiers"].is_null()) {
    PrintTiers(memory["tiers"]);
  }
  const OrderedJson& states = memory["states"];
  std::cout << fmt::format("physical {} in {} mappings; {} map calls by the engine, {} ahead of it\n",
                           ReadableBytes(memory["physical"]["bytes"].get<int64_t>()), memory["mappings"].get<int64_t>(),
                           memory["map_calls"]["engine"].get<int64_t>(), memory["map_calls"]["control"].get<int64_t>());
  std::cout << fmt::format("states {} of {}, which may pin {} pages\n", states["count"].get<int64_t>(),
                           states["max"].get<int64_t>(), states["max_pinned_pages"].get<int64_t>());
  std::cout << fmt::format("left for a tier {}, came back {}, lost {}\n", memory["spilled_pages"].get<int64_t>(),
                           memory["restored_pages"].get<int64_t>(), memory["lost_pages"].get<int64_t>());
}

}  // namespace

int InspectMemory(const std::string& url, const std::string& api_key, bool json) {
  const auto memory = FetchMemory(url, api_key);
  if (!memory.ok()) {
    return PrintError(memory.error());
  }
  if (json) {
    std::cout << DumpJson(*memory) << '\n';
  } else {
    PrintTable(*memory);
  }
  return 0;
}

}  // namespace causeway::server
