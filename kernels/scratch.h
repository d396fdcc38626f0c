// Scratch memory for ops: grows to a high-water mark, then steady state allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace causeway::kernels {

// Owner: the thread that owns the stream; inside a fork-join, worker w may call Worker(w, ...) only.
class Scratch {
 public:
  explicit Scratch(int workers);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // 64-byte aligned, at least `bytes` long, contents unspecified; valid until the next call of the same
  // kind for the same worker.
  std::byte* Shared(int64_t bytes);
  std::byte* Worker(int worker, int64_t bytes);
  std::byte* Plan(int64_t bytes);  // how a call is cut into tasks, beside the two above

 private:
  struct Block;
  static std::byte* Grow(Block& block, int64_t bytes);

  std::vector<Block> blocks_;  // [0]: shared; [1]: plan; [2 + worker]
};

}  // namespace causeway::kernels
