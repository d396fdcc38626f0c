// How a page's bytes are recognized again.
#pragma once

#include <cstdint>
#include <span>

#include "base/keyed_hash.h"
#include "memory/page_tier.h"

namespace causeway::memory {

// 128 bits that find every accidental change of a page: of its bytes, of whose bytes they are, of what made them.
// Not a defence against who can write the folder, who has the index as well; so XXH3 does, which is an order of
// magnitude faster than a cryptographic hash and than a disk.
struct Checksum {
  uint64_t low = 0;
  uint64_t high = 0;
  bool operator==(const Checksum&) const = default;
};

// Of a page's bytes [page_bytes], its identity, and the fingerprint of what wrote them.
Checksum PageChecksum(const Digest& fingerprint, const PageIdentity& identity, std::span<const std::byte> bytes);

// Of a record of the index log; `seed` tells the records of one file from those of another.
uint64_t RecordChecksum(std::span<const std::byte> bytes, uint64_t seed);

}  // namespace causeway::memory
