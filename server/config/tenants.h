// Tenants as --tenant gives them. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace causeway::server {

// Its place in the list is its TenantId; the first is "default".
struct TenantSetting {
  std::string name;
  std::vector<std::string> keys;  // API keys whose requests are its
  std::optional<int64_t> floor_bytes;
  std::optional<int64_t> quota_bytes;
};

// Reads "NAME=KEY[,floor=SIZE][,quota=SIZE]". A name may come again with another key. Where a list was split at its
// commas (an environment variable), "floor=..." and "quota=..." stand alone and belong to the tenant before. `api_keys`
// are the keys of "default". Errors never show a key.
Result<std::vector<TenantSetting>> ParseTenants(std::span<const std::string> texts,
                                                std::span<const std::string> api_keys);

}  // namespace causeway::server
