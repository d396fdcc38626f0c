// Memory that costs nothing until it is written, straight from the system: giving it back leaves no trace in the
// allocator (which keeps more for itself after each large piece that it sees freed).
#pragma once

#include <cstddef>
#include <memory>

#include <sys/mman.h>

#include "base/check.h"

namespace causeway {

struct UnmapMemory {
  size_t bytes = 0;
  void operator()(std::byte* memory) const { ::munmap(memory, bytes); }
};
using LazyMemory = std::unique_ptr<std::byte[], UnmapMemory>;

// Zeros, and never null. Requires an address space that has them, as new does.
inline LazyMemory ReserveMemory(size_t wanted) {
  const size_t bytes = wanted > 0 ? wanted : 1;  // the system maps no empty piece
  void* const memory =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK_MSG(memory != MAP_FAILED, "no address space for {} bytes", bytes);
  return LazyMemory(static_cast<std::byte*>(memory), UnmapMemory{bytes});
}

}  // namespace causeway
