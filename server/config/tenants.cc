#include "server/config/tenants.h"

#include <algorithm>
#include <string_view>

#include "fmt/format.h"
#include "memory/tenant.h"
#include "server/config/value.h"

namespace causeway::server {
namespace {

constexpr size_t kMaxName = 64;

Error Bad(std::string message) { return MakeError(ErrorCode::kInvalidArgument, std::move(message), "tenant"); }

bool IsLimit(std::string_view name) { return name == "floor" || name == "quota"; }

// It is a metrics label and a folder's name.
bool IsName(std::string_view name) {
  const bool plain = std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.';
  });
  return plain && !name.empty() && name.size() <= kMaxName && name.front() != '.' && !IsLimit(name);
}

class Parser {
 public:
  Parser() { tenants_.push_back({"default", {}, {}, {}}); }

  // One "name=value" between commas.
  Result<void> Take(std::string_view part) {
    const size_t equals = part.find('=');
    if (equals == std::string_view::npos) {
      return Bad("must be NAME=KEY[,floor=SIZE][,quota=SIZE]");
    }
    const std::string_view name = part.substr(0, equals);
    const std::string_view value = part.substr(equals + 1);
    return IsLimit(name) ? TakeLimit(name, value) : TakeKey(name, value);
  }

  Result<void> AddKey(TenantSetting& tenant, std::string_view key) {
    for (const TenantSetting& other : tenants_) {
      if (&other != &tenant && std::find(other.keys.begin(), other.keys.end(), key) != other.keys.end()) {
        return Bad(fmt::format("{} and {} have the same key", other.name, tenant.name));
      }
    }
    tenant.keys.emplace_back(key);
    return {};
  }

  std::vector<TenantSetting>& tenants() { return tenants_; }

 private:
  Result<void> TakeKey(std::string_view name, std::string_view key) {
    if (!IsName(name)) {
      return Bad(
          fmt::format("a name has 1 to {} of A-Z a-z 0-9 . _ -, does not begin with a dot, and is neither floor "
                      "nor quota",
                      kMaxName));
    }
    if (key.empty()) {
      return Bad(fmt::format("{} needs a key: {}=KEY", name, name));
    }
    const auto known =
        std::find_if(tenants_.begin(), tenants_.end(), [&](const TenantSetting& one) { return one.name == name; });
    last_ = static_cast<size_t>(known - tenants_.begin());
    if (known == tenants_.end()) {
      if (tenants_.size() >= memory::kMaxTenants) {
        return Bad(fmt::format("there may be {} at most", memory::kMaxTenants));
      }
      tenants_.push_back({std::string(name), {}, {}, {}});
    }
    return AddKey(tenants_[*last_], key);
  }

  Result<void> TakeLimit(std::string_view limit, std::string_view value) {
    if (!last_) {
      return Bad(fmt::format("{} belongs to no tenant", limit));
    }
    TenantSetting& tenant = tenants_[*last_];
    const auto bytes = ParseBytes(value);
    if (!bytes.ok()) {
      return Bad(fmt::format("{}: {} {}", tenant.name, limit, bytes.error().message));
    }
    auto& place = limit == "floor" ? tenant.floor_bytes : tenant.quota_bytes;
    if (place) {
      return Bad(fmt::format("{}: {} is given twice", tenant.name, limit));
    }
    place = *bytes;
    if (tenant.floor_bytes.value_or(0) > tenant.quota_bytes.value_or(INT64_MAX)) {
      return Bad(fmt::format("{}: the floor is above the quota", tenant.name));
    }
    return {};
  }

  std::vector<TenantSetting> tenants_;
  std::optional<size_t> last_;  // that a part spoke of
};

}  // namespace

Result<std::vector<TenantSetting>> ParseTenants(std::span<const std::string> texts,
                                                std::span<const std::string> api_keys) {
  Parser parser;
  for (const std::string& text : texts) {
    std::string_view rest = text;
    while (true) {
      const size_t comma = std::min(rest.find(','), rest.size());
      TRY(parser.Take(rest.substr(0, comma)));
      if (comma == rest.size()) {
        break;
      }
      rest.remove_prefix(comma + 1);
    }
  }
  for (const std::string& key : api_keys) {
    TRY(parser.AddKey(parser.tenants().front(), key));
  }
  return std::move(parser.tenants());
}

}  // namespace causeway::server
