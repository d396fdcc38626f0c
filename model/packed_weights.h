// Weights repacked at load for integer arithmetic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"

namespace causeway::model {

struct Network;

// One packed weight's memory, in huge pages where the system gives them.
class PackedMemory {
 public:
  static Result<PackedMemory> Allocate(int64_t bytes);

  std::byte* data() const { return memory_.get(); }
  int64_t bytes() const { return memory_.get_deleter().bytes; }

 private:
  struct Unmap {
    int64_t bytes = 0;
    void operator()(std::byte* memory) const;
  };
  explicit PackedMemory(std::byte* memory, int64_t bytes) : memory_(memory, Unmap{bytes}) {}
  std::unique_ptr<std::byte, Unmap> memory_;
};

// Packs every projection whose format kernels have integer arithmetic for, tensor by tensor on the pool, and lets go of
// what it was read from: pages of the files, and rows that the network owned. At no time is there more than the packed
// weights and one tensor's rows. Embeddings stay rows. kResourceExhausted: no memory. `progress` gets fractions.
Result<void> PackWeights(Network& network, ThreadPool& pool, const std::function<void(double)>& progress);

// Bytes of the network's packed weights.
int64_t PackedBytesOf(const Network& network);

}  // namespace causeway::model
