#include "memory/tier/checksum.h"

#include <cstring>

#define XXH_INLINE_ALL  // no library to carry at run time
#include <xxhash.h>

namespace causeway::memory {

Checksum PageChecksum(const Digest& fingerprint, const PageIdentity& identity, std::span<const std::byte> bytes) {
  const XXH128_hash_t content = XXH3_128bits(bytes.data(), bytes.size());
  const XXH128_hash_t tokens = XXH3_128bits(identity.tokens.data(), identity.tokens.size_bytes());
  struct {
    Digest fingerprint, key, parent;
    int64_t place;
    uint64_t tenant, bytes, tokens;
    XXH128_hash_t content_hash, token_hash;
  } const all{fingerprint,  identity.key,           identity.parent, identity.place, identity.tenant,
              bytes.size(), identity.tokens.size(), content,         tokens};
  static_assert(std::has_unique_object_representations_v<decltype(all)>, "padding would be hashed");
  const XXH128_hash_t hash = XXH3_128bits(&all, sizeof all);
  return {hash.low64, hash.high64};
}

uint64_t RecordChecksum(std::span<const std::byte> bytes, uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

}  // namespace causeway::memory
