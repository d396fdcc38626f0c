// y = x W^T + bias for weights as they lie in the file: row-major F32, F16 or BF16, never repacked.
//
// The order of every output's sum, whatever the batch: k is cut into groups of kGroup at absolute
// positions; inside a group one vector accumulator takes blocks of k in ascending order (BF16: the even
// lanes of a block, then the odd ones, since those two unpack without a shuffle; x is laid out the same way
// once per call); a fixed tree folds the lanes; group sums are added in ascending order; then the bias.
//
// Few rows of x (decode): weights stream once from memory, straight into the accumulators, as four rows
// from four far-apart places, because one stream does not reach the memory's rate. More rows: a strip of
// four weight rows is unpacked to float32 in the first-level cache and all rows of x pass over it.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/ops.h"
#include "kernels/cpu/tile.h"
#include "kernels/scratch.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr int64_t kGroup = 1024;   // of k; a multiple of every block
constexpr int64_t kPad = 16;       // floats between packed rows: rows of 4 KiB would share cache sets
constexpr int64_t kPackedStride = kGroup + kPad;
constexpr int kStreams = 4;        // weight rows in flight, and rows of a strip
constexpr int64_t kFewRows = 2;    // up to here weights go straight from memory to the accumulators
constexpr int64_t kRowBlock = 64;  // rows of x that stay in the second-level cache over a strip

struct PackedX {
  const float* data;  // [groups][m][kPackedStride], zero behind k
  int64_t m;
  int64_t k;

  const float* Row(int64_t group, int64_t row) const {
    return data + (group * m + row) * kPackedStride;
  }
  int64_t groups() const { return (k + kGroup - 1) / kGroup; }
  int64_t LengthOf(int64_t group) const { return std::min(kGroup, k - group * kGroup); }
};

// Values that one step of the inner loop takes from a weight row.
template <FormatId kFormat>
constexpr int64_t BlockOf() {
  return kFormat == FormatId::kBF16 ? 2 * kLanes : kLanes;
}

template <FormatId kFormat>
constexpr int64_t kElementBytes = kFormat == FormatId::kF32 ? 4 : 2;

// One block of weights as float32 vectors, in the order of PackRow.
template <FormatId kFormat>
inline void LoadBlock(const std::byte* p, Vec out[2]) {
  if constexpr (kFormat == FormatId::kBF16) {
    LoadBF16EvenOdd(p, out[0], out[1]);
  } else if constexpr (kFormat == FormatId::kF16) {
    out[0] = LoadF16(p);
  } else {
    out[0] = Load(reinterpret_cast<const float*>(p));
  }
}

// The last, incomplete block of a row, zeros behind: the weight may end where its mapping ends.
template <FormatId kFormat>
inline void LoadLastBlock(const std::byte* p, int64_t count, Vec out[2]) {
  alignas(64) std::byte bytes[BlockOf<kFormat>() * kElementBytes<kFormat>] = {};
  std::memcpy(bytes, p, static_cast<size_t>(count * kElementBytes<kFormat>));
  LoadBlock<kFormat>(bytes, out);
}

// Copies one group of a row of x in the order in which LoadBlock hands out weights.
void PackRow(const float* x, int64_t length, bool even_odd, float* packed) {
  const int64_t block = even_odd ? 2 * kLanes : kLanes;
  int64_t i = 0;
  for (; i + block <= length; i += block) {
    if (even_odd) {
      for (int64_t lane = 0; lane < kLanes; ++lane) {
        packed[i + lane] = x[i + 2 * lane];
        packed[i + kLanes + lane] = x[i + 2 * lane + 1];
      }
    } else {
      std::memcpy(packed + i, x + i, static_cast<size_t>(block) * sizeof(float));
    }
  }
  if (i < length) {
    std::memset(packed + i, 0, static_cast<size_t>(block) * sizeof(float));
    for (int64_t j = 0; i + j < length; ++j) {
      packed[i + (even_odd ? (j % 2) * kLanes + j / 2 : j)] = x[i + j];
    }
  }
}

PackedX Pack(Stream& stream, const LinearArgs& args, int64_t k, bool even_odd, std::byte* memory) {
  const PackedX packed{reinterpret_cast<const float*>(memory), args.m, k};
  const int64_t groups = packed.groups();
  const auto pack = [&](int64_t row, int) {
    for (int64_t group = 0; group < groups; ++group) {
      PackRow(args.x + row * args.x_stride + group * kGroup, packed.LengthOf(group), even_odd,
              const_cast<float*>(packed.Row(group, row)));
    }
  };
  if (args.m * k < 65536) {  // not worth waking anyone
    for (int64_t row = 0; row < args.m; ++row) {
      pack(row, 0);
    }
  } else {
    stream.pool.ParallelFor(args.m, pack);
  }
  return packed;
}

// Adds a group's sum to the output: the first group starts it, the last one adds the bias.
inline void Accumulate(const LinearTarget& target, int64_t row, int64_t n, float sum, bool first,
                       bool last) {
  float& y = target.y[row * target.y_stride + n];
  y = first ? sum : y + sum;
  if (last && target.bias != nullptr) {
    y += target.bias[n];
  }
}

// ---- Few rows of x ---------------------------------------------------------------------------------

template <FormatId kFormat, int M>
void GroupFromMemory(const PackedX& x, int64_t group, const std::byte* const w[kStreams],
                     float sums[M][kStreams]) {
  constexpr int64_t kBlock = BlockOf<kFormat>();
  constexpr int kVectors = static_cast<int>(kBlock / kLanes);
  Vec acc[M][kStreams];
  for (int m = 0; m < M; ++m) {
    for (int n = 0; n < kStreams; ++n) {
      acc[m][n] = Zero();
    }
  }
  const int64_t length = x.LengthOf(group);
  const float* const row = x.Row(group, 0);
  const int64_t offset = group * kGroup * kElementBytes<kFormat>;
  const auto step = [&](int64_t i, int n, const Vec block[2]) __attribute__((always_inline)) {
    for (int m = 0; m < M; ++m) {
      for (int v = 0; v < kVectors; ++v) {
        acc[m][n] = Fma(Load(row + m * kPackedStride + i + v * kLanes), block[v], acc[m][n]);
      }
    }
  };
  int64_t i = 0;
  for (; i + kBlock <= length; i += kBlock) {
    for (int n = 0; n < kStreams; ++n) {
      Vec block[2];
      LoadBlock<kFormat>(w[n] + offset + i * kElementBytes<kFormat>, block);
      step(i, n, block);
    }
  }
  if (i < length) {
    for (int n = 0; n < kStreams; ++n) {
      Vec block[2];
      LoadLastBlock<kFormat>(w[n] + offset + i * kElementBytes<kFormat>, length - i, block);
      step(i, n, block);
    }
  }
  for (int m = 0; m < M; ++m) {
    ReduceAdd4(acc[m], sums[m]);
  }
}

template <FormatId kFormat, int M>
void RowsFromMemory(const PackedX& x, const LinearTarget& target, const int64_t rows[kStreams],
                    int valid) {
  const std::byte* w[kStreams];
  for (int n = 0; n < kStreams; ++n) {
    w[n] = target.weight.data + rows[n] * target.weight.row_bytes;
  }
  const int64_t groups = x.groups();
  for (int64_t group = 0; group < groups; ++group) {
    float sums[M][kStreams];
    GroupFromMemory<kFormat, M>(x, group, w, sums);
    for (int m = 0; m < M; ++m) {
      for (int n = 0; n < valid; ++n) {
        Accumulate(target, m, rows[n], sums[m][n], group == 0, group == groups - 1);
      }
    }
  }
}

// Rows [begin, end) in lockstep from four quarters of the range.
template <FormatId kFormat>
void RangeFewRows(const PackedX& x, const LinearTarget& target, int64_t begin, int64_t end) {
  const int64_t count = end - begin;
  const int64_t quarter = count / kStreams;
  const auto run = [&](const int64_t rows[kStreams], int valid) {
    if (x.m == 1) {
      RowsFromMemory<kFormat, 1>(x, target, rows, valid);
    } else {
      RowsFromMemory<kFormat, 2>(x, target, rows, valid);
    }
  };
  for (int64_t i = 0; i < quarter; ++i) {
    const int64_t rows[kStreams] = {begin + i, begin + quarter + i, begin + 2 * quarter + i,
                                    begin + 3 * quarter + i};
    run(rows, kStreams);
  }
  const int64_t rest = begin + kStreams * quarter;
  if (rest < end) {
    int64_t rows[kStreams];
    for (int n = 0; n < kStreams; ++n) {
      rows[n] = std::min(rest + n, end - 1);
    }
    run(rows, static_cast<int>(end - rest));
  }
}

// ---- Many rows of x --------------------------------------------------------------------------------

// Unpacks one group of up to four weight rows to float32, rows behind `valid` as zeros.
template <FormatId kFormat>
void UnpackStrip(const WeightView& weight, const int64_t rows[kStreams], int valid, int64_t group,
                 int64_t length, float* strip) {
  constexpr int64_t kBlock = BlockOf<kFormat>();
  constexpr int kVectors = static_cast<int>(kBlock / kLanes);
  for (int n = 0; n < kStreams; ++n) {
    float* const out = strip + n * kPackedStride;
    if (n >= valid) {
      std::memset(out, 0, kGroup * sizeof(float));
      continue;
    }
    const std::byte* const w =
        weight.data + rows[n] * weight.row_bytes + group * kGroup * kElementBytes<kFormat>;
    Vec block[2];
    int64_t i = 0;
    for (; i + kBlock <= length; i += kBlock) {
      LoadBlock<kFormat>(w + i * kElementBytes<kFormat>, block);
      for (int v = 0; v < kVectors; ++v) {
        Store(out + i + v * kLanes, block[v]);
      }
    }
    if (i < length) {
      LoadLastBlock<kFormat>(w + i * kElementBytes<kFormat>, length - i, block);
      for (int v = 0; v < kVectors; ++v) {
        Store(out + i + v * kLanes, block[v]);
      }
    }
  }
}

struct StripSums {
  const LinearTarget& target;
  const int64_t* rows;
  int valid;
  bool first;
  bool last;
};

template <int M>
__attribute__((noinline)) void StripTile(const PackedX& x, int64_t group, int64_t row, int64_t padded,
                                         const float* strip, const StripSums& out) {
  float sums[M][kStreams];
  Tile<M, kStreams>(x.Row(group, row), kPackedStride, strip, kPackedStride, padded, sums);
  for (int m = 0; m < M; ++m) {
    for (int n = 0; n < out.valid; ++n) {
      Accumulate(out.target, row + m, out.rows[n], sums[m][n], out.first, out.last);
    }
  }
}

// Rows [begin, end) of x over one strip, in tiles of three; 4 = 2 + 2, so that none has a single row.
void RowsOverStrip(const PackedX& x, int64_t group, int64_t begin, int64_t end, int64_t padded,
                   const float* strip, const StripSums& out) {
  int64_t row = begin;
  while (end - row >= 3 && end - row != 4) {
    StripTile<3>(x, group, row, padded, strip, out);
    row += 3;
  }
  while (end - row >= 2) {
    StripTile<2>(x, group, row, padded, strip, out);
    row += 2;
  }
  if (row < end) {
    StripTile<1>(x, group, row, padded, strip, out);
  }
}

template <FormatId kFormat>
void StripOfGroup(const PackedX& x, const LinearTarget& target, const int64_t rows[kStreams], int valid,
                  int64_t group, int64_t x_begin, int64_t x_end, float* strip) {
  const int64_t length = x.LengthOf(group);
  const int64_t block = BlockOf<kFormat>();
  const int64_t padded = (length + block - 1) / block * block;
  UnpackStrip<kFormat>(target.weight, rows, valid, group, length, strip);
  RowsOverStrip(x, group, x_begin, x_end, padded, strip,
                {target, rows, valid, group == 0, group == x.groups() - 1});
}

// Rows [begin, end) of the weight. Few rows of x: whole weight rows one after the other, so that memory is
// read in order. Many: one group of k at a time for a block of x that fits the second-level cache.
template <FormatId kFormat>
void RangeManyRows(const PackedX& x, const LinearTarget& target, int64_t begin, int64_t end,
                   float* strip) {
  const auto for_strips = [&](auto&& body) {
    for (int64_t n = begin; n < end; n += kStreams) {
      int64_t rows[kStreams];
      for (int i = 0; i < kStreams; ++i) {
        rows[i] = std::min(n + i, end - 1);
      }
      body(rows, static_cast<int>(std::min<int64_t>(kStreams, end - n)));
    }
  };
  if (x.m <= kRowBlock) {
    for_strips([&](const int64_t rows[kStreams], int valid) {
      for (int64_t group = 0; group < x.groups(); ++group) {
        StripOfGroup<kFormat>(x, target, rows, valid, group, 0, x.m, strip);
      }
    });
    return;
  }
  for (int64_t group = 0; group < x.groups(); ++group) {
    for (int64_t row = 0; row < x.m; row += kRowBlock) {
      for_strips([&](const int64_t rows[kStreams], int valid) {
        StripOfGroup<kFormat>(x, target, rows, valid, group, row, std::min(x.m, row + kRowBlock), strip);
      });
    }
  }
}

template <FormatId kFormat>
void Range(const PackedX& x, const LinearTarget& target, int64_t begin, int64_t end, float* strip) {
  if (x.m <= kFewRows) {
    RangeFewRows<kFormat>(x, target, begin, end);
  } else {
    RangeManyRows<kFormat>(x, target, begin, end, strip);
  }
}

// Rows of a task: enough for its four streams to lie far apart (an odd number of rows: not a power of
// two), few enough for every thread to get several.
int64_t TaskRows(int64_t rows, int threads) {
  const int64_t share = rows / (int64_t{4} * threads);
  return std::clamp<int64_t>(share / kStreams * kStreams, 4 * 4, 4 * 61);
}

}  // namespace

void Linear(Stream& stream, const LinearArgs& args) {
  if (args.m == 0 || args.targets.empty()) {
    return;
  }
  // Targets that share x share its packed form if their formats order k alike (they do: one file has one
  // format, but a mixed pair costs a second packing, not an error).
  const int64_t k = args.targets[0].weight.columns;
  const int64_t groups = (k + kGroup - 1) / kGroup;
  const int64_t packed_bytes = groups * args.m * kPackedStride * static_cast<int64_t>(sizeof(float));
  std::byte* const memory = stream.scratch.Shared(packed_bytes);
  for (const bool even_odd : {false, true}) {
    bool packed = false;
    PackedX x{};
    for (const LinearTarget& target : args.targets) {
      if ((target.weight.format == FormatId::kBF16) != even_odd) {
        continue;
      }
      if (!packed) {
        x = Pack(stream, args, k, even_odd, memory);
        packed = true;
      }
      const int64_t rows = target.weight.rows;
      const int64_t task_rows = TaskRows(rows, stream.pool.threads());
      stream.pool.ParallelFor((rows + task_rows - 1) / task_rows, [&](int64_t task, int worker) {
        const int64_t begin = task * task_rows;
        const int64_t end = std::min(rows, begin + task_rows);
        auto* const strip = reinterpret_cast<float*>(
            stream.scratch.Worker(worker, kStreams * kPackedStride * static_cast<int64_t>(sizeof(float))));
        switch (target.weight.format) {
          case FormatId::kF32: return Range<FormatId::kF32>(x, target, begin, end, strip);
          case FormatId::kF16: return Range<FormatId::kF16>(x, target, begin, end, strip);
          case FormatId::kBF16: return Range<FormatId::kBF16>(x, target, begin, end, strip);
        }
      });
    }
  }
}

}  // namespace causeway::kernels::CAUSEWAY_ISA
