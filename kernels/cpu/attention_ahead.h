// Requests for the rows of K and V that attention reads next.
#pragma once

#include <algorithm>

#include "kernels/cpu/kv_rows.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

// Neighbouring kv heads.
struct Heads {
  int64_t first;
  int64_t count;
};

// Asks for the rows of a block to come, a few lines at a time between the arithmetic of the one at hand: a head's part
// of a row is too short for the hardware to see a stream, and many requests at once hold up the loads behind them.
// Whole rows, not each head's part: those of one head lie rows apart, which is few sets of the cache.
class BlockAhead {
 public:
  // Of positions [first, first + kAttentionBlock) below `to`, the parts of `kv_heads`; nothing where first >= to.
  BlockAhead(const AttentionArgs& args, const KvSequence& sequence, Heads kv_heads, int64_t first, int64_t to)
      : row_bytes_(args.layer.row_bytes) {
    if (first >= to) {
      return;
    }
    const int64_t head_bytes = args.layer.head_dim * KvFormatBytes(args.layer.format);
    at_ = row_ = KRow(args.layer, sequence, first) + kv_heads.first * head_bytes;
    v_ = VRow(args.layer, sequence, first) + kv_heads.first * head_bytes;
    rows_ = rows_left_ = std::min(kAttentionBlock, to - first);
    part_bytes_ = kv_heads.count * head_bytes;
    total_ = left_ = 2 * rows_ * ((part_bytes_ + kLine - 1) / kLine);
  }

  int64_t total() const { return total_; }

  void Ask(int64_t lines) {
    lines = std::min(lines, left_);
    left_ -= lines;
    for (; lines > 0; --lines) {
      __builtin_prefetch(at_, 0, 3);
      at_ += kLine;
      if (at_ >= row_ + part_bytes_) {
        NextRow();
      }
    }
  }

 private:
  static constexpr int64_t kLine = 64;

  void NextRow() {
    row_ += row_bytes_;
    if (--rows_left_ == 0) {
      row_ = v_;
      rows_left_ = rows_;
    }
    at_ = row_;
  }

  const std::byte* at_ = nullptr;
  const std::byte* row_ = nullptr;
  const std::byte* v_ = nullptr;
  int64_t row_bytes_;
  int64_t part_bytes_ = 0;
  int64_t rows_ = 0;
  int64_t rows_left_ = 0;
  int64_t total_ = 0;  // lines
  int64_t left_ = 0;
};

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
