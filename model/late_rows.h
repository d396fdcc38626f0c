// Rows of weights that are made when they are wanted: some at a time where they are packed, and not at all where packed
// weights come from the repack cache. What they are made of stays in the model's files.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/lazy_memory.h"
#include "base/thread_pool.h"

namespace causeway::model {

// Owner: the loading thread. Views may point at the rows from the start.
class LateRows {
 public:
  struct Shape {
    int64_t rows;
    int64_t row_bytes;
    int64_t together;      // rows are made in stretches that begin at multiples of it
    bool in_order = true;  // what a stretch is made of lies in the source where it lies in the rows; else all over it
  };
  // Makes rows [begin, end), where begin is a multiple of `together` and so is end, or it is the last. Any thread,
  // several at once.
  using Make = std::function<void(int64_t begin, int64_t end, std::byte* target)>;
  struct Maker {
    Make rows;
    Make panels = nullptr;  // the same rows packed; null: rows are made and then packed
  };
  // Reads what all rows need. What it gives, and it, own everything but `source`, which outlives the rows until they
  // are written.
  using Begin = std::function<Maker()>;
  LateRows(const Shape& shape, std::span<const std::byte> source, Begin begin)
      : shape_(shape), memory_(ReserveMemory(bytes())), source_(source), begin_(std::move(begin)) {}

  bool written() const { return memory_ != nullptr && begin_ == nullptr; }
  const Shape& shape() const { return shape_; }
  std::span<const std::byte> rows() const { return {memory_.get(), bytes()}; }
  bool Holds(const std::byte* data) const {
    return memory_ != nullptr && data >= memory_.get() && data < memory_.get() + bytes();
  }
  // What most of the rows is made of; empty once they are written.
  std::span<const std::byte> source() const { return source_; }
  // What nobody reads again once stretches [begin, end) are made; empty if others read the same.
  std::span<const std::byte> SourceOf(int64_t begin, int64_t end) const {
    const auto at = [&](int64_t row) {
      return source_.size() * static_cast<size_t>(row) / static_cast<size_t>(shape_.rows);
    };
    return shape_.in_order ? source_.subspan(at(begin), at(end) - at(begin)) : std::span<const std::byte>();
  }

  void WriteNow(ThreadPool& pool) {
    if (begin_) {
      const Maker maker = begin_();
      pool.ParallelFor((shape_.rows + shape_.together - 1) / shape_.together, [&](int64_t stretch, int) {
        const int64_t row = stretch * shape_.together;
        maker.rows(row, std::min(row + shape_.together, shape_.rows), memory_.get() + row * shape_.row_bytes);
      });
      begin_ = nullptr;
      source_ = {};
    }
  }
  // For someone who wants them elsewhere, some at a time. Requires rows that are not written.
  Maker NewMaker() const { return begin_(); }
  // No view reads the rows any more.
  void Free() {
    memory_.reset();
    begin_ = nullptr;
    source_ = {};
  }

 private:
  size_t bytes() const { return static_cast<size_t>(shape_.rows * shape_.row_bytes); }

  Shape shape_;
  LazyMemory memory_;
  std::span<const std::byte> source_;
  Begin begin_;
};

// When a container's translation writes the rows that it makes.
enum class RowsWritten : uint8_t { kNow, kLater };

}  // namespace causeway::model
