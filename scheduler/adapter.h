// A change of the model that a request is computed with (LoRA). Here it is a name, and bits that decide what may share
// its KV; executors know what it does.
#pragma once

#include <string>

#include "base/keyed_hash.h"

namespace causeway::scheduler {

// Immutable, from any thread. A request holds the one that it began with until it ends.
class Adapter {
 public:
  Adapter(std::string name, const Digest& digest) : name_(std::move(name)), digest_(digest) {}
  virtual ~Adapter() = default;
  Adapter(const Adapter&) = delete;
  Adapter& operator=(const Adapter&) = delete;

  const std::string& name() const { return name_; }
  // Of all that the KV computed with it depends on: equal content, equal digest. Never zeros, which say "none".
  const Digest& digest() const { return digest_; }

 private:
  const std::string name_;
  const Digest digest_;
};

}  // namespace causeway::scheduler
