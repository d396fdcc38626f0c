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

  // No rows.
  explicit CacheBlock(const KvLayerView& layer) : CacheBlock(layer, {}, 0, 0, 0, 0) {}

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

constexpr int kPortion = 4;  // dims or rows between two portions
constexpr int64_t kLine = 64;
constexpr int64_t kNearBytes = 64 << 10;  // of a small block
constexpr int64_t kAgain = 6144;          // bytes behind a request at which a line is asked for once more

// Asks for the rows of a block to come, a few lines at a time between the arithmetic of the one at hand: a head's part
// of a row is too short for the hardware to see a stream. Whole rows, not each head's part: those of one head lie rows
// apart, which is few sets of the cache. Where more is asked for than memory can have in flight, requests are dropped:
// so they go out evenly and, where there is little arithmetic between them, each twice more when those before have had
// time to be answered. A small block goes into the first-level cache; a large one drove out of it what was at
// hand (Zen 4, 256 KiB: 44 ms for 61), so it goes into the second.
class BlockAhead {
 public:
  static constexpr bool kBetweenSteps = true;  // of products
  // The rows of `block`, `part_bytes` of each, in about `asks` portions.
  BlockAhead(const CacheBlock& block, int64_t part_bytes, int64_t asks)
      : block_(block), part_bytes_(part_bytes), near_(2 * kBlock * part_bytes <= kNearBytes), row_(block.low) {
    const int64_t rows = std::max<int64_t>(0, block.high - block.low);
    const int64_t lines = 2 * rows * ((part_bytes + kLine - 1) / kLine);
    if (lines > 0 && StartRows()) {
      portion_ = lines * kWhole / asks + 1;
    }
  }

  // The lines of one portion.
  class Portion {
   public:
    Portion() = default;
    Portion(const std::byte* line, const std::byte* stop, const std::byte* begin, bool near)
        : line_(line),
          stop_(stop),
          begin_(begin),
          near_(near),
          each_(((stop - line) / kLine + kPortion - 1) / kPortion * kLine) {}
    // One of kPortion parts; `kTimes` - 1 times more of what was asked for some time ago.
    template <int kTimes>
    inline __attribute__((always_inline)) void Ask() {
      AskUpTo<kTimes>(std::min(line_ + each_, stop_));
    }
    template <int kTimes>
    inline __attribute__((always_inline)) void AskAll() {
      AskUpTo<kTimes>(stop_);
    }

   private:
    template <int kTimes>
    inline __attribute__((always_inline)) void AskUpTo(const std::byte* to) {
      for (; line_ < to; line_ += kLine) {
        AskFor(line_, near_);
#pragma GCC unroll 2
        for (int time = 1; time < kTimes; ++time) {
          AskFor(std::max(line_ - time * kAgain, begin_), near_);
        }
      }
    }

    const std::byte* line_ = nullptr;
    const std::byte* stop_ = nullptr;
    const std::byte* begin_ = nullptr;
    bool near_ = false;
    int64_t each_ = 0;
  };

  // The next portion; nothing where all is done. Where a stretch of rows ends all of it is asked for at once.
  inline __attribute__((always_inline)) Portion Next() {
    due_ += portion_;
    const std::byte* const line = at_;
    const std::byte* const stop = line + due_ / kWhole * kLine;
    due_ %= kWhole;
    if (stop > end_) {
      AskAcross(stop - end_);
      return {};
    }
    at_ = stop;
    return {line, stop, begin_, near_};
  }

  void NextPack() {}

 private:
  static constexpr int64_t kWhole = 1 << 16;  // a line in fixed point

  static inline __attribute__((always_inline)) void AskFor(const std::byte* line, bool near) {
    if (near) {
      __builtin_prefetch(line, 0, 3);
    } else {
      __builtin_prefetch(line, 0, 2);
    }
  }

  // The rest of the stretch, and `more` bytes of what follows it.
  __attribute__((noinline)) void AskAcross(int64_t more) {
    while (true) {
      for (; at_ < end_; at_ += kLine) {
        AskFor(at_, near_);
      }
      if (!StartRows()) {
        portion_ = 0;
        return;
      }
      const int64_t stretch = end_ - at_;
      const std::byte* const stop = at_ + std::min(more, stretch);
      for (; at_ < stop; at_ += kLine) {
        AskFor(at_, near_);
      }
      if (more <= stretch) {
        return;
      }
      more -= stretch;
    }
  }

  // Goes to the next stretch: rows that lie without gaps are one, to the end of their run. False: there is none.
  bool StartRows() {
    if (row_ >= block_.high) {
      if (in_v_) {
        return false;
      }
      in_v_ = true;
      row_ = block_.low;
    }
    const RowRuns& rows = in_v_ ? block_.v : block_.k;
    const bool gaps = part_bytes_ < rows.row_bytes || part_bytes_ % kLine != 0;
    const int64_t count = gaps ? 1 : std::min(block_.high, (row_ / kKvRun + 1) * kKvRun) - row_;
    at_ = rows.At(row_);
    begin_ = at_ == end_ ? begin_ : at_;
    end_ = at_ + (count * part_bytes_ + kLine - 1) / kLine * kLine;
    row_ += count;
    return true;
  }

  const CacheBlock& block_;
  const int64_t part_bytes_;
  const bool near_;
  int64_t row_;  // of the next stretch
  bool in_v_ = false;
  const std::byte* begin_ = nullptr;  // of neighbouring stretches
  const std::byte* at_ = nullptr;
  const std::byte* end_ = nullptr;
  int64_t portion_ = 0;  // lines of an ask in fixed point: rounded up they would all be asked for too early
  int64_t due_ = 0;
};

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
