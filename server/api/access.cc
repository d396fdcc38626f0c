#include "server/api/access.h"

#include <openssl/crypto.h>

namespace causeway::server {

std::optional<memory::TenantId> TenantOf(std::span<const ApiKey> keys, std::string_view given) {
  std::optional<memory::TenantId> tenant;
  for (const ApiKey& one : keys) {  // all of them: no hint in the time it takes
    if (one.key.size() == given.size() && CRYPTO_memcmp(one.key.data(), given.data(), given.size()) == 0) {
      tenant = one.tenant;
    }
  }
  return tenant;
}

}  // namespace causeway::server
