// Low-rank terms in two fork-joins a call, whatever the number of adapters: u = scale * A x for all terms, then
// y += B u. Tiles share loads and show in no bit.
#include "kernels/low_rank.h"

#include <algorithm>

#include "kernels/cpu/ops.h"
#include "kernels/cpu/vec.h"
#include "kernels/scratch.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr int64_t kRanks = kLowRankRows;  // of a tile of A x
constexpr int64_t kRowBlock = 48;         // rows of x that a task takes through its weights
// Rows of a tile of A x, and of one of B u: as many as the registers hold.
#if defined(CAUSEWAY_ISA_AVX512)
constexpr int kShrinkRows = 6;
constexpr int kExpandRows = 12;
#else
constexpr int kShrinkRows = 3;
constexpr int kExpandRows = 4;
#endif
constexpr int64_t kColumnBlock = 512;   // of y that a task takes
constexpr int64_t kStrip = 2 * kLanes;  // columns of a tile of B u
static_assert(kLowRankColumns % kStrip == 0, "tiles read whole strips");

struct F32Values {
  static constexpr int64_t kBytes = 4;
  static Vec LoadAt(const std::byte* p) { return Load(reinterpret_cast<const float*>(p)); }
};
struct F16Values {
  static constexpr int64_t kBytes = 2;
  static Vec LoadAt(const std::byte* p) { return LoadF16(p); }
};
struct BF16Values {
  static constexpr int64_t kBytes = 2;
  static Vec LoadAt(const std::byte* p) { return LoadBF16(p); }
};

// Calls f with the type that reads the term's weights.
template <typename F>
void WithValues(FormatId format, F f) {
  switch (format) {
    case FormatId::kF16: return f(F16Values{});
    case FormatId::kBF16: return f(BF16Values{});
    default: return f(F32Values{});
  }
}

// One term of one segment, and how it is cut.
struct Unit {
  const LowRankSegment* segment;
  const LowRankTerm* term;
  float* u;            // [rows of the segment, u_stride]
  int64_t u_stride;    // rank, padded
  int64_t row_blocks;  // of the segment
  int64_t shrink_end;  // tasks of A x up to this unit's last
  int64_t expand_end;  // tasks of B u
};

int64_t Blocks(int64_t count, int64_t size) { return (count + size - 1) / size; }

// ---- u = scale * A x -------------------------------------------------------------------------------

// u[row][0, kRanks) of Rows rows of x and kRanks rows of A.
template <typename Values, int Rows>
void ShrinkTile(const float* const (&x)[Rows], int64_t k, const std::byte* a, int64_t a_stride, float scale,
                float* const (&u)[Rows]) {
  Vec sums[Rows][kRanks];
  for (auto& row : sums) {
    std::fill(row, row + kRanks, Zero());
  }
  const auto step = [&](int64_t i, const auto& load_x) {
    Vec weights[kRanks];
    for (int64_t r = 0; r < kRanks; ++r) {
      weights[r] = Values::LoadAt(a + (r * a_stride + i) * Values::kBytes);
    }
    for (int row = 0; row < Rows; ++row) {
      const Vec values = load_x(x[row] + i);
      for (int64_t r = 0; r < kRanks; ++r) {
        sums[row][r] = Fma(values, weights[r], sums[row][r]);
      }
    }
  };
  int64_t i = 0;
  for (; i + kLanes <= k; i += kLanes) {
    step(i, [](const float* p) { return Load(p); });
  }
  if (i < k) {
    step(i, [rest = k - i](const float* p) { return LoadPart(p, rest); });
  }
  for (int row = 0; row < Rows; ++row) {
    for (int64_t r = 0; r < kRanks; ++r) {
      u[row][r] = scale * ReduceAdd(sums[row][r]);
    }
  }
}

template <typename Values, int Rows>
void ShrinkRows(const LowRankArgs& args, const Unit& unit, int64_t first, int64_t rank) {
  const float* x[Rows];
  float* u[Rows];
  for (int row = 0; row < Rows; ++row) {
    x[row] = args.x + unit.segment->rows.data()[first + row] * args.x_stride;
    u[row] = unit.u + (first + row) * unit.u_stride + rank;
  }
  const LowRankTerm& term = *unit.term;
  ShrinkTile<Values, Rows>(x, args.k, term.a + rank * term.a_stride * Values::kBytes, term.a_stride, term.scale, u);
}

void Shrink(const LowRankArgs& args, const Unit& unit, int64_t task) {
  const int64_t rank = task / unit.row_blocks * kRanks;
  int64_t row = task % unit.row_blocks * kRowBlock;
  const int64_t end = std::min(row + kRowBlock, static_cast<int64_t>(unit.segment->rows.size()));
  WithValues(unit.term->format, [&](auto values) {
    using Values = decltype(values);
    for (; row + kShrinkRows <= end; row += kShrinkRows) {
      ShrinkRows<Values, kShrinkRows>(args, unit, row, rank);
    }
    for (; row < end; ++row) {
      ShrinkRows<Values, 1>(args, unit, row, rank);
    }
  });
}

// ---- y += B u --------------------------------------------------------------------------------------

inline void AddTo(float* y, Vec sum, int64_t count) {
  if (count >= kLanes) {
    Store(y, Add(Load(y), sum));
  } else if (count > 0) {
    StorePart(y, Add(LoadPart(y, count), sum), count);
  }
}

// A strip of Rows rows of y, `count` of its columns.
template <typename Values, int Rows>
void ExpandTile(const float* const (&u)[Rows], const std::byte* b, const LowRankTerm& term, float* const (&y)[Rows],
                int64_t count) {
  Vec sums[Rows][2];
  for (auto& row : sums) {
    row[0] = Zero();
    row[1] = Zero();
  }
  for (int64_t r = 0; r < term.rank; ++r) {
    const std::byte* const weights = b + r * term.b_stride * Values::kBytes;
    const Vec low = Values::LoadAt(weights);
    const Vec high = Values::LoadAt(weights + kLanes * Values::kBytes);
    for (int row = 0; row < Rows; ++row) {
      const Vec value = Set1(u[row][r]);
      sums[row][0] = Fma(value, low, sums[row][0]);
      sums[row][1] = Fma(value, high, sums[row][1]);
    }
  }
  for (int row = 0; row < Rows; ++row) {
    AddTo(y[row], sums[row][0], count);
    AddTo(y[row] + kLanes, sums[row][1], count - kLanes);
  }
}

template <typename Values, int Rows>
void ExpandRows(const Unit& unit, int64_t first, int64_t column, int64_t count) {
  const LowRankTerm& term = *unit.term;
  const float* u[Rows];
  float* y[Rows];
  for (int row = 0; row < Rows; ++row) {
    u[row] = unit.u + (first + row) * unit.u_stride;
    y[row] = term.y + unit.segment->rows.data()[first + row] * term.y_stride + column;
  }
  ExpandTile<Values, Rows>(u, term.b + column * Values::kBytes, term, y, count);
}

void Expand(const Unit& unit, int64_t task) {
  const LowRankTerm& term = *unit.term;
  const int64_t first_row = task % unit.row_blocks * kRowBlock;
  const int64_t end = std::min(first_row + kRowBlock, static_cast<int64_t>(unit.segment->rows.size()));
  int64_t column = task / unit.row_blocks * kColumnBlock;
  const int64_t last = std::min(column + kColumnBlock, term.n);
  WithValues(term.format, [&](auto values) {
    using Values = decltype(values);
    for (; column < last; column += kStrip) {
      const int64_t count = std::min(kStrip, last - column);
      int64_t row = first_row;
      for (; row + kExpandRows <= end; row += kExpandRows) {
        ExpandRows<Values, kExpandRows>(unit, row, column, count);
      }
      for (; row < end; ++row) {
        ExpandRows<Values, 1>(unit, row, column, count);
      }
    }
  });
}

// ---- Tasks -----------------------------------------------------------------------------------------

// Units of all segments, in the stream's plan scratch; u lies in its shared scratch.
std::span<const Unit> Cut(Stream& stream, const LowRankArgs& args) {
  int64_t count = 0;
  int64_t floats = 0;
  for (const LowRankSegment& segment : args.segments) {
    for (const LowRankTerm& term : segment.terms) {
      ++count;
      floats += static_cast<int64_t>(segment.rows.size()) * Blocks(term.rank, kRanks) * kRanks;
    }
  }
  auto* const units = reinterpret_cast<Unit*>(stream.scratch.Plan(count * static_cast<int64_t>(sizeof(Unit))));
  auto* u = reinterpret_cast<float*>(stream.scratch.Shared(floats * static_cast<int64_t>(sizeof(float))));
  int64_t shrink = 0;
  int64_t expand = 0;
  Unit* unit = units;
  for (const LowRankSegment& segment : args.segments) {
    const auto rows = static_cast<int64_t>(segment.rows.size());
    const Unit* before = nullptr;  // of this segment
    for (const LowRankTerm& term : segment.terms) {
      const int64_t row_blocks = Blocks(rows, kRowBlock);
      const int64_t ranks = Blocks(term.rank, kRanks);
      const bool shares = before != nullptr && before->term->a == term.a;
      shrink += shares ? 0 : row_blocks * ranks;
      expand += row_blocks * Blocks(term.n, kColumnBlock);
      *unit = {&segment, &term, shares ? before->u : u, ranks * kRanks, row_blocks, shrink, expand};
      u += shares ? 0 : rows * ranks * kRanks;
      before = unit++;
    }
  }
  return {units, static_cast<size_t>(count)};
}

// Calls body(unit, task of the unit) for each task; `end` is the member that counts them.
template <typename Body>
void ForTasks(Stream& stream, std::span<const Unit> units, int64_t Unit::*end, Body body) {
  stream.pool.ParallelFor(units.back().*end, [&](int64_t task, int) {
    const Unit* unit = units.data();
    int64_t begin = 0;
    while (task >= unit->*end) {
      begin = unit->*end;
      ++unit;
    }
    body(*unit, task - begin);
  });
}

}  // namespace

void LowRank(Stream& stream, const LowRankArgs& args) {
  const std::span<const Unit> units = Cut(stream, args);
  if (units.empty()) {
    return;
  }
  ForTasks(stream, units, &Unit::shrink_end, [&](const Unit& unit, int64_t task) { Shrink(args, unit, task); });
  ForTasks(stream, units, &Unit::expand_end, [&](const Unit& unit, int64_t task) { Expand(unit, task); });
}

}  // namespace causeway::kernels::CAUSEWAY_ISA
