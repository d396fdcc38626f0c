// Remembers which pages were given up lately, so that a miss can be told from a loss.
#pragma once

#include <cstring>
#include <deque>
#include <unordered_set>

#include "base/keyed_hash.h"

namespace causeway::memory {

class GhostKeys {
 public:
  void Add(const Digest& key) {
    if (!known_.insert(Word(key)).second) {
      return;
    }
    order_.push_back(Word(key));
    if (order_.size() > kMost) {
      known_.erase(order_.front());
      order_.pop_front();
    }
  }
  bool Contains(const Digest& key) const { return known_.contains(Word(key)); }

 private:
  static constexpr size_t kMost = 1 << 15;
  // 64 bits of a uniform key: telling wrong once in 2^49 lookups spoils no more than a figure.
  static uint64_t Word(const Digest& key) {
    uint64_t word = 0;
    std::memcpy(&word, key.data(), sizeof word);
    return word;
  }

  std::unordered_set<uint64_t> known_;
  std::deque<uint64_t> order_;
};

}  // namespace causeway::memory
