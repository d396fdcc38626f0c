// Memory that holds packed weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/result.h"
#include "base/thread_pool.h"

namespace causeway::model {

// Unmapped at the end of the object.
class PackedMemory {
 public:
  // At least so many bytes to be filled, in huge pages where the system gives them. What is not touched takes no
  // memory.
  static Result<PackedMemory> Allocate(int64_t bytes);
  // The first `bytes` of an open file, to be read; the descriptor may be closed afterwards.
  static Result<PackedMemory> Map(int file, int64_t bytes);

  // Has the system clear [offset, offset + bytes) now, by all threads; what it does not do then it does on first use.
  void Populate(int64_t offset, int64_t bytes, ThreadPool& pool) const;

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

}  // namespace causeway::model
