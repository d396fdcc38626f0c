#include "kernels/scratch.h"

#include <new>

#include "base/check.h"

namespace causeway::kernels {
namespace {

struct AlignedDelete {
  void operator()(std::byte* data) const { ::operator delete[](data, std::align_val_t{64}); }
};

}  // namespace

struct alignas(64) Scratch::Block {  // a cache line each, so that workers do not share one
  std::unique_ptr<std::byte[], AlignedDelete> data;
  int64_t bytes = 0;
};

Scratch::Scratch(int workers) : blocks_(static_cast<size_t>(workers) + 1) {}
Scratch::~Scratch() = default;

std::byte* Scratch::Shared(int64_t bytes) { return Grow(blocks_[0], bytes); }
std::byte* Scratch::Worker(int worker, int64_t bytes) {
  return Grow(blocks_[static_cast<size_t>(worker) + 1], bytes);
}

std::byte* Scratch::Grow(Block& block, int64_t bytes) {
  CHECK(bytes >= 0);
  if (bytes > block.bytes) {
    block.data.reset();
    block.data.reset(
        static_cast<std::byte*>(::operator new[](static_cast<size_t>(bytes), std::align_val_t{64})));
    block.bytes = bytes;
  }
  return block.data.get();
}

}  // namespace causeway::kernels
