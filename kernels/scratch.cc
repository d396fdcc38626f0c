#include "kernels/scratch.h"

#include <sys/mman.h>

#include <new>

#include "base/check.h"

namespace causeway::kernels {
namespace {

// Large blocks ask for huge pages: kernels walk them in many short rows, and address translation would cost
// as much as the cache misses.
constexpr int64_t kHugePage = int64_t{2} << 20;

struct AlignedDelete {
  std::align_val_t alignment{64};
  void operator()(std::byte* data) const { ::operator delete[](data, alignment); }
};
using AlignedBytes = std::unique_ptr<std::byte[], AlignedDelete>;

AlignedBytes Allocate(int64_t bytes) {
  const auto alignment = static_cast<std::align_val_t>(bytes >= kHugePage ? kHugePage : 64);
  AlignedBytes data(static_cast<std::byte*>(::operator new[](static_cast<size_t>(bytes), alignment)),
                    AlignedDelete{alignment});
  if (bytes >= kHugePage) {
    ::madvise(data.get(), static_cast<size_t>(bytes), MADV_HUGEPAGE);  // a hint: refusal costs only speed
  }
  return data;
}

}  // namespace

struct alignas(64) Scratch::Block {  // a cache line each, so that workers do not share one
  AlignedBytes data;
  int64_t bytes = 0;
};

Scratch::Scratch(int workers) : blocks_(static_cast<size_t>(workers) + 2) {}
Scratch::~Scratch() = default;

std::byte* Scratch::Shared(int64_t bytes) { return Grow(blocks_[0], bytes); }
std::byte* Scratch::Plan(int64_t bytes) { return Grow(blocks_[1], bytes); }
std::byte* Scratch::Worker(int worker, int64_t bytes) { return Grow(blocks_[static_cast<size_t>(worker) + 2], bytes); }

std::byte* Scratch::Grow(Block& block, int64_t bytes) {
  CHECK(bytes >= 0);
  if (bytes > block.bytes) {
    // Whole huge pages, and half as much again as before, so that slowly growing calls settle soon.
    const int64_t grown = block.bytes + block.bytes / 2 > bytes ? block.bytes + block.bytes / 2 : bytes;
    const int64_t rounded = grown >= kHugePage / 4 ? (grown + kHugePage - 1) / kHugePage * kHugePage : grown;
    block.data.reset();
    block.data = Allocate(rounded);
    block.bytes = rounded;
  }
  return block.data.get();
}

}  // namespace causeway::kernels
