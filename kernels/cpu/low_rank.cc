// Low-rank terms in two fork-joins a call, whatever the number of adapters: u = scale * A x for all terms, then
// y += B u. Tiles share loads and show in no bit.
#include "kernels/low_rank.h"

#include <algorithm>
#include <type_traits>

#include "kernels/cpu/ops.h"
#include "kernels/cpu/vec.h"
#include "kernels/scratch.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr int64_t kRanks = kLowRankRows;  // of a tile of A x
// Rows of a tile of A x, and of one of B u: as many as the registers hold.
#if defined(CAUSEWAY_ISA_AVX512)
constexpr int kShrinkRows = 6;
constexpr int kExpandRows = 12;
#else
constexpr int kShrinkRows = 3;
constexpr int kExpandRows = 4;
#endif
constexpr int64_t kRowBlock = 2 * kExpandRows;  // rows that a task takes
constexpr int64_t kFewRows = 4 * kRowBlock;     // up to which tasks of A x are tiles of ranks instead
constexpr int64_t kColumnBlock = 1024;          // of y that a task takes
constexpr int64_t kStrip = 2 * kLanes;          // columns of a tile of B u
static_assert(kLowRankColumns % kStrip == 0, "tiles read whole strips");
constexpr int64_t kLine = 64;
constexpr int64_t kAheadBytes = 8 * kLine;  // of each row of A or B, before it is multiplied

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
  bool shares;         // u is that of the unit before
  int64_t shrink_end;  // tasks of A x up to this unit's last; of many rows they are all the first unit's
  int64_t expand_end;  // tasks of B u
};

int64_t Blocks(int64_t count, int64_t size) { return (count + size - 1) / size; }

// ---- u = scale * A x -------------------------------------------------------------------------------

// Has the lines of `count` rows of weights fetched that are some way ahead of column i; once a line.
template <typename Values>
void PrefetchRows(const std::byte* weights, int64_t stride, int64_t count, int64_t i) {
  if (i * Values::kBytes % kLine == 0) {
    for (int64_t r = 0; r < count; ++r) {
      __builtin_prefetch(weights + (r * stride + i) * Values::kBytes + kAheadBytes, 0, 3);
    }
  }
}

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
    PrefetchRows<Values>(a, a_stride, kRanks, i);
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

// Calls body(first row, rows of the tile as a constant) for tiles over [row, end): of Rows, then of half as many, ...
template <int Rows, typename Body>
void ForTiles(int64_t row, int64_t end, const Body& body) {
  for (; row + Rows <= end; row += Rows) {
    body(row, std::integral_constant<int, Rows>());
  }
  if constexpr (Rows > 1) {
    ForTiles<Rows / 2>(row, end, body);
  }
}

// Ranks [rank, rank_end) of rows [first, end) of one unit.
void Shrink(const LowRankArgs& args, const Unit& unit, int64_t first, int64_t end, int64_t rank, int64_t rank_end) {
  const LowRankTerm& term = *unit.term;
  WithValues(term.format, [&](auto values) {
    using Values = decltype(values);
    ForTiles<kShrinkRows>(first, end, [&](int64_t tile, auto rows) {
      constexpr int kRows = decltype(rows)::value;
      for (int64_t r = rank; r < rank_end; r += kRanks) {
        const float* x[kRows];
        float* u[kRows];
        for (int row = 0; row < kRows; ++row) {
          x[row] = args.x + unit.segment->rows.data()[tile + row] * args.x_stride;
          u[row] = unit.u + (tile + row) * unit.u_stride + r;
        }
        ShrinkTile<Values, kRows>(x, args.k, term.a + r * term.a_stride * Values::kBytes, term.a_stride, term.scale, u);
      }
    });
  });
}

// Few rows: a task is a tile of ranks. Many: it is a block of rows, through all terms while they are near.
void ShrinkTask(const LowRankArgs& args, const Unit& unit, int64_t task) {
  const auto rows = static_cast<int64_t>(unit.segment->rows.size());
  if (rows <= kFewRows) {
    return Shrink(args, unit, 0, rows, task * kRanks, (task + 1) * kRanks);
  }
  const int64_t first = task * kRowBlock;
  for (const Unit& one : std::span(&unit, unit.segment->terms.size())) {
    if (!one.shares) {
      Shrink(args, one, first, std::min(first + kRowBlock, rows), 0, one.u_stride);
    }
  }
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
    __builtin_prefetch(weights + kAheadBytes, 0, 3);
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

void ExpandTask(const Unit& unit, int64_t task) {
  const LowRankTerm& term = *unit.term;
  const auto rows = static_cast<int64_t>(unit.segment->rows.size());
  const int64_t row_blocks = Blocks(rows, kRowBlock);
  const int64_t first = task % row_blocks * kRowBlock;
  const int64_t begin = task / row_blocks * kColumnBlock;
  const int64_t end = std::min(begin + kColumnBlock, term.n);
  WithValues(term.format, [&](auto values) {
    using Values = decltype(values);
    // Rows of y are walked along: each is a stream.
    ForTiles<kExpandRows>(first, std::min(first + kRowBlock, rows), [&](int64_t tile, auto count) {
      constexpr int kRows = decltype(count)::value;
      const float* u[kRows];
      float* y[kRows];
      for (int row = 0; row < kRows; ++row) {
        u[row] = unit.u + (tile + row) * unit.u_stride;
        y[row] = term.y + unit.segment->rows.data()[tile + row] * term.y_stride + begin;
      }
      for (int64_t column = begin; column < end; column += kStrip) {
        ExpandTile<Values, kRows>(u, term.b + column * Values::kBytes, term, y, std::min(kStrip, end - column));
        for (float*& row : y) {
          row += kStrip;
        }
      }
    });
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
      const int64_t ranks = Blocks(term.rank, kRanks);
      const bool shares = before != nullptr && before->term->a == term.a;
      const bool by_rank = rows <= kFewRows;
      const bool first = before == nullptr;
      shrink += by_rank ? (shares ? 0 : ranks) : (first ? Blocks(rows, kRowBlock) : 0);
      expand += Blocks(rows, kRowBlock) * Blocks(term.n, kColumnBlock);
      *unit = {&segment, &term, shares ? before->u : u, ranks * kRanks, shares, shrink, expand};
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
  ForTasks(stream, units, &Unit::shrink_end, [&](const Unit& unit, int64_t task) { ShrinkTask(args, unit, task); });
  ForTasks(stream, units, &Unit::expand_end, [&](const Unit& unit, int64_t task) { ExpandTask(unit, task); });
}

}  // namespace causeway::kernels::CAUSEWAY_ISA
