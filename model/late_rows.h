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
  // What a row is made of lies in the source where it lies in the rows; or a column; or each line has some of every
  // row, of columns that may be any.
  enum class SourceOrder : uint8_t { kRows, kColumns, kLines };
  struct Shape {
    int64_t rows;
    int64_t row_bytes;
    int64_t together;  // rows are made in stretches that begin at multiples of it
    SourceOrder source_order = SourceOrder::kRows;
    int64_t columns = 0;           // of kColumns and kLines, as what follows
    int64_t columns_together = 0;  // columns are packed in stretches that begin at multiples of it
    int64_t lines = 0;             // of kLines
  };
  // Makes rows [begin, end), where begin is a multiple of `together` and so is end, or it is the last. Any thread,
  // several at once.
  using Make = std::function<void(int64_t begin, int64_t end, std::byte* target)>;
  // Rows [begin, end) and columns of them: of kColumns [first_column, last_column), of others all.
  struct Part {
    int64_t begin, end;
    int64_t first_column, last_column;
  };
  // Packs a part of the rows into the panels that begin with row `begin`.
  using Pack = std::function<void(const Part& part, std::byte* panels)>;
  // Lines [first, last) of the source, as far as they are of rows [begin, end).
  struct Lines {
    int64_t first, last;
    int64_t begin, end;
  };
  // Copies a part of the source to where the panels will be that begin with row `begin`.
  using Gather = std::function<void(const Lines& part, std::byte* panels)>;
  struct Maker {
    Make rows;
    Pack panels = nullptr;    // null: rows are made and then packed
    Gather gather = nullptr;  // not null: `panels` packs, in place, rows of which all lines were gathered
  };
  // Reads what all rows need. What it gives, and it, own everything but `source` and the checkpoint's order of columns,
  // which outlive the rows until they are written.
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
  // What nobody reads again once a part is packed, of kRows all its columns, of kColumns all its rows; empty of kLines.
  std::span<const std::byte> SourceOf(const Part& part) const {
    switch (shape_.source_order) {
      case SourceOrder::kRows: return Stretch(part.begin, part.end, shape_.rows);
      case SourceOrder::kColumns: return Stretch(part.first_column, part.last_column, shape_.columns);
      case SourceOrder::kLines: return {};
    }
    return {};
  }
  std::span<const std::byte> SourceOfLines(int64_t first, int64_t last) const {
    return Stretch(first, last, shape_.lines);
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
  std::span<const std::byte> Stretch(int64_t begin, int64_t end, int64_t all) const {
    const auto at = [&](int64_t i) { return source_.size() * static_cast<size_t>(i) / static_cast<size_t>(all); };
    return source_.subspan(at(begin), at(end) - at(begin));
  }

  Shape shape_;
  LazyMemory memory_;
  std::span<const std::byte> source_;
  Begin begin_;
};

// When a container's translation writes the rows that it makes.
enum class RowsWritten : uint8_t { kNow, kLater };

}  // namespace causeway::model
