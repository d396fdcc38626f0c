#include "base/keyed_hash.h"

#include <string>

#include <gtest/gtest.h>

#include "fmt/format.h"

namespace causeway {
namespace {

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string Hex(const Digest& digest) {
  std::string text;
  for (const std::byte b : digest) {
    text += fmt::format("{:02x}", static_cast<unsigned>(b));
  }
  return text;
}

Digest CountingKey() {
  Digest key;
  for (size_t i = 0; i < key.size(); ++i) {
    key[i] = static_cast<std::byte>(i);
  }
  return key;
}

// From Python: hashlib.blake2b(b"abc", digest_size=32, key=bytes(range(32)), person=b"causeway.page\0\0\0").
TEST(KeyedHash, IsBlake2b) {
  KeyedHash hash(CountingKey(), "causeway.page");
  EXPECT_EQ(Hex(hash.Hash({Bytes("abc")})), "a20e427dbee941d0147da9c500fcc9c0fcd50a7d6a1f6b518eb5729aef2d78b5");
}

TEST(KeyedHash, HashesPartsAsOneText) {
  KeyedHash hash(CountingKey(), "causeway.page");
  const Digest whole = hash.Hash({Bytes("abc")});
  EXPECT_EQ(hash.Hash({Bytes("a"), Bytes(""), Bytes("bc")}), whole);
  EXPECT_EQ(hash.Hash({Bytes("abc")}), whole);  // nothing is left of the calls before
}

TEST(KeyedHash, KeyAndDomainMatter) {
  KeyedHash hash(CountingKey(), "causeway.page");
  KeyedHash other_domain(CountingKey(), "causeway.root");
  KeyedHash other_key(RandomKey(), "causeway.page");
  const Digest digest = hash.Hash({Bytes("abc")});
  EXPECT_NE(other_domain.Hash({Bytes("abc")}), digest);
  EXPECT_NE(other_key.Hash({Bytes("abc")}), digest);
  EXPECT_NE(RandomKey(), RandomKey());
}

}  // namespace
}  // namespace causeway
