// Rows of weights that are made when they are wanted: one at a time where they are packed, and not at all where packed
// weights come from the repack cache. What they are made of stays in the model's files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/thread_pool.h"

namespace causeway::model {

// Owner: the loading thread. Views may point at the rows from the start.
class LateRows {
 public:
  // `write` fills the rows; it owns what it needs but `source`, which outlives the rows until they are written.
  using Write = std::function<void(std::byte* rows, ThreadPool& pool)>;
  LateRows(int64_t bytes, std::span<const std::byte> source, Write write)
      : memory_(std::make_unique_for_overwrite<std::byte[]>(static_cast<size_t>(bytes))),  // untouched: no memory yet
        bytes_(bytes),
        source_(source),
        write_(std::move(write)) {}

  bool written() const { return memory_ != nullptr && write_ == nullptr; }
  std::span<const std::byte> rows() const { return {memory_.get(), static_cast<size_t>(bytes_)}; }
  bool Holds(const std::byte* data) const {
    return memory_ != nullptr && data >= memory_.get() && data < memory_.get() + bytes_;
  }
  // What most of the rows is made of; empty once they are written.
  std::span<const std::byte> source() const { return source_; }

  void WriteNow(ThreadPool& pool) {
    if (write_) {
      write_(memory_.get(), pool);
      write_ = nullptr;
      source_ = {};
    }
  }
  // No view reads the rows any more.
  void Free() {
    memory_.reset();
    write_ = nullptr;
    source_ = {};
  }

 private:
  std::unique_ptr<std::byte[]> memory_;
  int64_t bytes_;
  std::span<const std::byte> source_;
  Write write_;
};

// When a container's translation writes the rows that it makes.
enum class RowsWritten : uint8_t { kNow, kLater };

}  // namespace causeway::model
