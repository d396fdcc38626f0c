// Scratch memory for ops: grows to a high-water mark, then steady state allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "base/check.h"

namespace causeway::kernels {

// Owner: the thread that owns the stream; inside a fork-join, worker w may call Worker(w, ...) only.
class Scratch {
 public:
  explicit Scratch(int workers) : workers_(static_cast<size_t>(workers)) {}

  // 64-byte aligned, at least `bytes` long, contents unspecified; valid until the next call of the same
  // kind for the same worker.
  std::byte* Shared(int64_t bytes) { return Grow(shared_, bytes); }
  std::byte* Worker(int worker, int64_t bytes) {
    return Grow(workers_[static_cast<size_t>(worker)], bytes);
  }

 private:
  struct Free {
    void operator()(std::byte* data) const { ::operator delete[](data, std::align_val_t{64}); }
  };
  struct alignas(64) Block {  // a cache line each, so that workers do not share one
    std::unique_ptr<std::byte[], Free> data;
    int64_t bytes = 0;
  };

  static std::byte* Grow(Block& block, int64_t bytes) {
    CHECK(bytes >= 0);
    if (bytes > block.bytes) {
      block.data.reset();
      block.data.reset(static_cast<std::byte*>(
          ::operator new[](static_cast<size_t>(bytes), std::align_val_t{64})));
      block.bytes = bytes;
    }
    return block.data.get();
  }

  Block shared_;
  std::vector<Block> workers_;
};

}  // namespace causeway::kernels
