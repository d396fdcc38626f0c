// A set of page ids as a bitmap: constant-time insert and erase, and the next member from a place on.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "base/check.h"
#include "memory/vm/vm_backend.h"

namespace causeway::memory {

class PageSet {
 public:
  explicit PageSet(int64_t capacity) : words_(static_cast<size_t>((capacity + 63) / 64), 0) {}

  int64_t size() const { return size_; }
  bool Contains(PageId page) const { return (words_[page / 64] & Bit(page)) != 0; }

  // Likewise, of any number.
  bool Has(PageId page) const { return page / 64 < words_.size() && Contains(page); }

  void Insert(PageId page) {
    CHECK(!Contains(page));
    words_[page / 64] |= Bit(page);
    ++size_;
  }
  void Erase(PageId page) {
    CHECK(Contains(page));
    words_[page / 64] &= ~Bit(page);
    --size_;
  }

  void Discard(PageId page) {
    if (Contains(page)) {
      Erase(page);
    }
  }

  // The first member at or after `from`, going round at the end. The set must not be empty.
  PageId NextFrom(PageId from) const {
    CHECK(size_ > 0);
    size_t word = from / 64 % words_.size();
    uint64_t bits = words_[word] & (~uint64_t{0} << (from % 64));
    while (bits == 0) {
      word = (word + 1) % words_.size();
      bits = words_[word];
    }
    return static_cast<PageId>(word * 64 + static_cast<size_t>(std::countr_zero(bits)));
  }

  // The highest member. The set must not be empty.
  PageId Last() const {
    CHECK(size_ > 0);
    size_t word = words_.size() - 1;
    while (words_[word] == 0) {
      --word;
    }
    return static_cast<PageId>(word * 64 + 63 - static_cast<size_t>(std::countl_zero(words_[word])));
  }

 private:
  static uint64_t Bit(PageId page) { return uint64_t{1} << (page % 64); }

  std::vector<uint64_t> words_;
  int64_t size_ = 0;
};

}  // namespace causeway::memory
