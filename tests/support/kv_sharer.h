// A sequence as the scheduler drives one, for tests of what sequences share.
#pragma once

#include <numeric>
#include <utility>
#include <vector>

#include "memory/kv_cache.h"

namespace causeway::memory {

inline std::vector<Token> Tokens(int64_t count, Token first) {
  std::vector<Token> tokens(static_cast<size_t>(count));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

struct Sharer {
  KvCache* cache;
  std::vector<Token> tokens;
  TenantId tenant = kDefaultTenant;
  std::vector<Digest> keys;
  Span span;

  Sharer(KvCache& kv, std::vector<Token> text, TenantId of = kDefaultTenant)
      : cache(&kv), tokens(std::move(text)), tenant(of) {
    cache->AppendPrefixKeys(cache->PrefixRoot("test"), tokens, keys);
  }

  PrefixQuery Query() const { return {keys, tokens, static_cast<int64_t>(keys.size()), tenant}; }
  // Takes what is known of the tokens and reserves the rest.
  Result<void> Start() {
    const auto size = static_cast<int64_t>(tokens.size());
    ASSIGN_OR_RETURN(span, cache->CreateSpan(size, Query()));
    return cache->Reserve(span, size);
  }
  void Publish() { cache->Publish(span, keys, tokens); }
};

}  // namespace causeway::memory
