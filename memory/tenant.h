// Whom pages are charged to. Pages are never shared between tenants.
#pragma once

#include <cstdint>
#include <limits>
#include <string>

namespace causeway::memory {

using TenantId = uint16_t;
inline constexpr TenantId kDefaultTenant = 0;
inline constexpr size_t kMaxTenants = 1024;

struct TenantLimits {
  std::string name = "default";
  int64_t floor_pages = 0;                                    // cached pages that others may not take
  int64_t quota_pages = std::numeric_limits<int64_t>::max();  // of all its pages together
};

}  // namespace causeway::memory
