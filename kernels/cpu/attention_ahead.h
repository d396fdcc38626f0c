// Requests for the rows of K and V that attention reads next.
#pragma once

#include <algorithm>

#include "kernels/cpu/kv_transpose.h"
#include "kernels/kv_address.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

// Neighbouring kv heads.
struct Heads {
  int64_t first;
  int64_t count;
};

// Where the rows of a block lie in the cache, from the first of some kv heads on.
struct CacheBlock {
  int64_t first;  // absolute position of row 0
  int64_t low;    // rows [low, high) may be read: those before, or behind, may be nobody's
  int64_t high;
  RowRuns k;
  RowRuns v;

  // The block at `first`, of which positions [from, to) may be read.
  CacheBlock(const KvLayerView& layer, const KvSequence& sequence, int64_t kv_head, int64_t first_position,
             int64_t from, int64_t to)
      : first(first_position),
        low(std::max<int64_t>(0, from - first)),
        high(std::clamp<int64_t>(to - first, 0, kBlock)),
        k{{}, layer.row_bytes},
        v{{}, layer.row_bytes} {
    const int64_t offset = kv_head * layer.head_dim * KvFormatBytes(layer.format);
    for (int64_t run = low / kKvRun; run * kKvRun < high; ++run) {
      int64_t row = 0;
      const std::byte* const page = PageOf(layer, sequence, first + run * kKvRun, row) + row * layer.row_bytes + offset;
      k.runs[run] = page + layer.k_offset;
      v.runs[run] = page + layer.v_offset;
    }
  }

  bool whole() const { return low == 0 && high == kBlock; }
};

// Asks for the rows of a block to come, a few lines at a time between the arithmetic of the one at hand: a head's part
// of a row is too short for the hardware to see a stream, and of many requests at once it drops some. Whole rows, not
// each head's part: those of one head lie rows apart, which is few sets of the cache.
class BlockAhead {
 public:
  // The rows of `block`, `part_bytes` of each, in about `asks` portions.
  BlockAhead(const CacheBlock& block, int64_t part_bytes, int64_t asks)
      : block_(block), part_bytes_(part_bytes), row_(block.low) {
    const int64_t rows = std::max<int64_t>(0, block.high - block.low);
    left_ = 2 * rows * ((part_bytes + kLine - 1) / kLine);
    portion_ = (static_cast<uint64_t>(left_) * kWhole) / static_cast<uint64_t>(asks) + 1;
    at_ = end_ = nullptr;
    if (left_ > 0) {
      StartRow(block_.k);
    }
  }

  // Asks for a portion; nothing where all are asked for.
  inline __attribute__((always_inline)) void Ask() {
    if (left_ == 0) {
      return;
    }
    due_ += portion_;
    const int64_t lines = std::min(static_cast<int64_t>(due_ / kWhole), left_);
    due_ %= kWhole;
    left_ -= lines;
    for (int64_t i = 0; i < lines; ++i) {
      __builtin_prefetch(at_, 0, 3);
      at_ += kLine;
      if (at_ >= end_) {
        NextRow();
      }
    }
  }

 private:
  static constexpr int64_t kLine = 64;
  static constexpr uint64_t kWhole = 1 << 16;  // a line in fixed point

  void StartRow(const RowRuns& rows) {
    at_ = rows.At(row_);
    end_ = at_ + part_bytes_;
  }
  inline __attribute__((always_inline)) void NextRow() {
    if (++row_ == block_.high) {
      row_ = block_.low;
      in_v_ = true;
    }
    StartRow(in_v_ ? block_.v : block_.k);
  }

  const CacheBlock& block_;
  const int64_t part_bytes_;
  int64_t row_;
  bool in_v_ = false;
  const std::byte* at_;
  const std::byte* end_;
  int64_t left_;      // lines
  uint64_t portion_;  // lines of an ask in fixed point: rounded up they would all be asked for too early
  uint64_t due_ = 0;
};

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
