#include "model/packed_memory.h"

#include <sys/mman.h>

#include "fmt/format.h"

namespace causeway::model {
namespace {

constexpr int64_t kHugePage = int64_t{2} << 20;

}  // namespace

void PackedMemory::Unmap::operator()(std::byte* memory) const { ::munmap(memory, static_cast<size_t>(bytes)); }

Result<PackedMemory> PackedMemory::Allocate(int64_t bytes) {
  void* const memory =
      ::mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return MakeError(ErrorCode::kResourceExhausted,
                     fmt::format("there is no memory for {} bytes of packed weights", bytes));
  }
  if (bytes >= kHugePage) {
    ::madvise(memory, static_cast<size_t>(bytes), MADV_HUGEPAGE);  // a hint: refusal costs only speed
  }
  return PackedMemory(static_cast<std::byte*>(memory), bytes);
}

Result<PackedMemory> PackedMemory::Map(int file, int64_t bytes) {
  void* const memory = ::mmap(nullptr, static_cast<size_t>(bytes), PROT_READ, MAP_PRIVATE, file, 0);
  if (memory == MAP_FAILED) {
    return MakeError(ErrorCode::kFailedPrecondition, fmt::format("{} bytes of a file cannot be mapped", bytes));
  }
  ::madvise(memory, static_cast<size_t>(bytes), MADV_HUGEPAGE);  // where the file system has them
  return PackedMemory(static_cast<std::byte*>(memory), bytes);
}

}  // namespace causeway::model
