#include "model/packed_memory.h"

#include <algorithm>

#include <sys/mman.h>

#include "fmt/format.h"

namespace causeway::model {
namespace {

constexpr int64_t kPage = 4096;
constexpr int64_t kHugePage = int64_t{2} << 20;

}  // namespace

void PackedMemory::Unmap::operator()(std::byte* memory) const { ::munmap(memory, static_cast<size_t>(bytes)); }

Result<PackedMemory> PackedMemory::Allocate(int64_t bytes) {
  // A huge page more than asked for, of which what lies before the first boundary is given back.
  const auto room = static_cast<size_t>(bytes + kHugePage);
  void* const memory = ::mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return MakeError(ErrorCode::kResourceExhausted,
                     fmt::format("there is no memory for {} bytes of packed weights", bytes));
  }
  auto* const begin = static_cast<std::byte*>(memory);
  const size_t before = (kHugePage - reinterpret_cast<uintptr_t>(memory) % kHugePage) % kHugePage;
  if (before > 0) {
    ::munmap(begin, before);
  }
  const auto rest = static_cast<int64_t>(room - before);
  ::madvise(begin + before, static_cast<size_t>(rest), MADV_HUGEPAGE);  // a hint: refusal costs only speed
  return PackedMemory(begin + before, rest);
}

void PackedMemory::Populate(int64_t offset, int64_t bytes, ThreadPool& pool) const {
#if defined(MADV_POPULATE_WRITE)
  const int64_t first = offset / kHugePage;
  const int64_t last = (offset + bytes + kHugePage - 1) / kHugePage;
  pool.ParallelFor(last - first, [&](int64_t page, int) {
    const int64_t begin = std::max(offset, (first + page) * kHugePage) / kPage * kPage;
    const int64_t end = std::min(offset + bytes, (first + page + 1) * kHugePage);
    ::madvise(data() + begin, static_cast<size_t>(end - begin), MADV_POPULATE_WRITE);
  });
#endif
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
