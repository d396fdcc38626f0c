// A keyed 256-bit hash with a domain tag: BLAKE2b (RFC 7693) in its keyed and personalized mode.
//
// Whoever does not know the key can neither predict a digest nor find two inputs with the same one, and inputs of
// different domains never share one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <span>
#include <string_view>

namespace causeway {

using Digest = std::array<std::byte, 32>;

// For tables by digest: digests are uniform already.
struct DigestHash {
  size_t operator()(const Digest& digest) const {
    size_t word = 0;
    std::memcpy(&word, digest.data(), sizeof word);
    return word;
  }
};

// Used by one thread at a time; makes no allocation after construction.
class KeyedHash {
 public:
  static constexpr size_t kMaxDomain = 16;

  // `domain` has at most kMaxDomain bytes.
  KeyedHash(const Digest& key, std::string_view domain);
  ~KeyedHash();
  KeyedHash(KeyedHash&&) noexcept;
  KeyedHash& operator=(KeyedHash&&) noexcept;

  // Of the parts, one after the other. Their borders are not hashed: the caller fixes all lengths but one, or puts
  // them in.
  Digest Hash(std::initializer_list<std::span<const std::byte>> parts);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// 256 bits from the system's random source; dies where there is none.
Digest RandomKey();

}  // namespace causeway
