// API keys, and whom a key's requests belong to.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "memory/tenant.h"

namespace causeway::server {

struct ApiKey {
  std::string key;
  memory::TenantId tenant = memory::kDefaultTenant;
};

// The tenant of `given`, the text behind "Bearer "; nothing if it is no key. Takes as long for any wrong key of the
// same length.
std::optional<memory::TenantId> TenantOf(std::span<const ApiKey> keys, std::string_view given);

}  // namespace causeway::server
