#include "base/keyed_hash.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include "base/check.h"

namespace causeway {
namespace {

struct FreeContext {
  void operator()(EVP_MAC_CTX* context) const { EVP_MAC_CTX_free(context); }
};

std::unique_ptr<EVP_MAC_CTX, FreeContext> NewContext() {
  EVP_MAC* const mac = EVP_MAC_fetch(nullptr, "BLAKE2BMAC", nullptr);
  CHECK_MSG(mac != nullptr, "this OpenSSL has no BLAKE2b");
  std::unique_ptr<EVP_MAC_CTX, FreeContext> context(EVP_MAC_CTX_new(mac));
  EVP_MAC_free(mac);  // the context keeps its own reference
  CHECK(context != nullptr);
  return context;
}

}  // namespace

struct KeyedHash::Impl {
  Digest key;
  std::unique_ptr<EVP_MAC_CTX, FreeContext> context = NewContext();
};

KeyedHash::KeyedHash(const Digest& key, std::string_view domain) : impl_(std::make_unique<Impl>()) {
  CHECK(domain.size() <= kMaxDomain);
  impl_->key = key;
  std::array<char, kMaxDomain> person{};
  domain.copy(person.data(), person.size());
  size_t size = Digest{}.size();
  const OSSL_PARAM params[] = {
      OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_CUSTOM, person.data(), person.size()),
      OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size),
      OSSL_PARAM_construct_end(),
  };
  CHECK(EVP_MAC_CTX_set_params(impl_->context.get(), params) == 1);
}

KeyedHash::~KeyedHash() = default;
KeyedHash::KeyedHash(KeyedHash&&) noexcept = default;
KeyedHash& KeyedHash::operator=(KeyedHash&&) noexcept = default;

Digest KeyedHash::Hash(std::initializer_list<std::span<const std::byte>> parts) {
  EVP_MAC_CTX* const context = impl_->context.get();
  CHECK(EVP_MAC_init(context, reinterpret_cast<const unsigned char*>(impl_->key.data()), impl_->key.size(), nullptr) ==
        1);
  for (const std::span<const std::byte> part : parts) {
    CHECK(EVP_MAC_update(context, reinterpret_cast<const unsigned char*>(part.data()), part.size()) == 1);
  }
  Digest digest;
  size_t size = 0;
  CHECK(EVP_MAC_final(context, reinterpret_cast<unsigned char*>(digest.data()), &size, digest.size()) == 1);
  CHECK(size == digest.size());
  return digest;
}

Digest RandomKey() {
  Digest key;
  CHECK(RAND_bytes(reinterpret_cast<unsigned char*>(key.data()), static_cast<int>(key.size())) == 1);
  return key;
}

}  // namespace causeway
