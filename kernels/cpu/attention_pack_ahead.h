// Requests between packs: what attention asks for where many queries go over a block.
#pragma once

#include "kernels/cpu/attention_ahead.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

// Rows of queries and of outputs, the same heads of each: they lie far apart, and where they are taken one behind the
// other, there is nothing to do meanwhile.
struct RowsAhead {
  const float* const* queries = nullptr;  // those at hand
  int64_t to_next = 0;                    // from them to those that come next, perhaps
  float* const* outputs = nullptr;
  int64_t rows = 0;
  int64_t floats = 0;
  int64_t at = 0;

  void Next(int64_t count) {
    constexpr int64_t kStep = kLine / static_cast<int64_t>(sizeof(float));
    for (const int64_t stop = std::min(rows, at + count); at < stop; ++at) {
      for (int64_t i = 0; i < floats; i += kStep) {
        __builtin_prefetch(queries[at] + to_next + i, 0, 2);
        __builtin_prefetch(outputs[at] + i, 1, 2);
      }
    }
  }
};

// For many queries: a portion of the block and some rows a pack, nothing between its products.
class PackAhead {
 public:
  static constexpr bool kBetweenSteps = false;
  struct Portion {
    template <int kTimes>
    void Ask() {}
  };

  PackAhead(BlockAhead& block, RowsAhead& rows, int64_t rows_of_pack)
      : block_(block), rows_(rows), rows_of_pack_(rows_of_pack) {}

  Portion Next() { return {}; }
  void NextPack() {
    block_.Next().AskAll<1>();
    rows_.Next(rows_of_pack_);
  }

 private:
  BlockAhead& block_;
  RowsAhead& rows_;
  const int64_t rows_of_pack_;
};

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
