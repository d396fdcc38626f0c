#include "model/packed_weights.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "base/free_memory.h"
#include "base/lazy_memory.h"
#include "base/log.h"
#include "kernels/pack.h"
#include "kernels/packed.h"
#include "model/builder.h"
#include "model/files.h"
#include "model/network.h"
#include "model/repack_cache.h"

namespace causeway::model {
namespace {

constexpr size_t kSamplesAtOnce = 16;               // weights, whose pages are then let go of
constexpr size_t kPackedAtOnce = 4;                 // the same of what is read beside their codes
constexpr int64_t kSourceBytes = int64_t{2} << 20;  // read, or made, by all workers between two evictions
constexpr int64_t kLinesAtOnce = 8;                 // at least, of lines that are read in order by each

std::vector<Projection*> ProjectionsOf(Network& network) {
  std::vector<Projection*> all;
  for (Layer& layer : network.layers) {
    for (Projection* const one : {&layer.attention.q, &layer.attention.k, &layer.attention.v, &layer.attention.o,
                                  &layer.mlp.gate, &layer.mlp.up, &layer.mlp.down}) {
      all.push_back(one);
    }
  }
  all.push_back(&network.head);
  return all;
}

bool IsPacked(const Projection& projection) {
  return projection.weight.data != nullptr && projection.weight.columns % kernels::kGroup == 0 &&
         kernels::PackingOf(projection.weight.format).kind != kernels::PackedKind::kNone;
}

// The late rows that a view reads; null: it reads others.
LateRows* LateOf(Network& network, const kernels::WeightView& weight) {
  const auto it = std::find_if(network.late.begin(), network.late.end(),
                               [&](const LateRows& late) { return late.Holds(weight.data); });
  return it == network.late.end() ? nullptr : &*it;
}

// Rows of ours that no view reads any more, and what others that are late would have been made of.
void FreeUnread(Network& network) {
  std::vector<const std::byte*> read = {network.embedding.data};
  if (network.positions) {
    read.push_back(network.positions->data);
  }
  for (const Projection* const projection : ProjectionsOf(network)) {
    read.push_back(projection->weight.data);
  }
  std::sort(read.begin(), read.end());
  const auto is_read = [&](std::span<const std::byte> bytes) {
    const auto first = std::lower_bound(read.begin(), read.end(), bytes.data());
    return first != read.end() && *first < bytes.data() + bytes.size();
  };
  for (LateRows& late : network.late) {
    if (!is_read(late.rows())) {
      late.Free();
    }
  }
  for (const LateRows& late : network.late) {
    read.push_back(late.source().data());
  }
  std::sort(read.begin(), read.end());
  for (std::vector<std::byte>& owned : network.owned) {
    if (!is_read(owned)) {
      FreeMemory(owned);
    }
  }
}

// The projections that are packed, and what of.
struct PackJob {
  std::vector<Projection*> projections;
  std::vector<RepackPart> parts;
};

PackJob JobOf(Network& network) {
  PackJob packing;
  for (Projection* const projection : ProjectionsOf(network)) {
    if (IsPacked(*projection)) {
      packing.projections.push_back(projection);
      const LateRows* const late = LateOf(network, projection->weight);
      packing.parts.push_back(
          RepackCache::Describe(projection->weight, late != nullptr ? late->source() : std::span<const std::byte>()));
      if (packing.parts.size() % kSamplesAtOnce == 0) {
        network.files->Evict();
      }
    }
  }
  network.files->Evict();  // what follows takes the most
  return packing;
}

void Bind(kernels::WeightView& weight, const std::byte* packed) {
  weight.data = packed;
  weight.row_bytes = 0;
  weight.layout = kernels::WeightLayout::kPanels;
  // Linear rounds x itself, to 8 bits in short groups: closer than any checkpoint asks for, and not to be done twice.
  weight.input_rounding = nullptr;
}

bool MapFrom(const RepackCache& cache, const PackJob& packing, Network& network, ThreadPool& pool) {
  auto mapped = cache.Map(packing.parts, pool);
  if (!mapped.ok()) {
    if (mapped.error().code != ErrorCode::kNotFound) {
      LOG_WARNING("{}; the weights are packed again", mapped.error().message);
    }
    return false;
  }
  const std::vector<int64_t> offsets = RepackCache::OffsetsOf(packing.parts);
  for (size_t i = 0; i < packing.projections.size(); ++i) {
    Bind(packing.projections[i]->weight, mapped->data() + offsets[i]);
  }
  network.packed = std::move(*mapped);
  FreeUnread(network);
  return true;
}

// The cache's file while weights are packed. The first failure is logged and ends it.
class CacheWriter {
 public:
  CacheWriter(const RepackCache* cache, const PackJob& packing) {
    if (cache != nullptr) {
      if (auto writer = cache->Begin(packing.parts); writer.ok()) {
        writer_.emplace(std::move(*writer));
      } else {
        Warn(writer.error());
      }
    }
  }
  void Write(size_t index, std::span<const std::byte> bytes) {
    if (writer_) {
      Check(writer_->Write(index, bytes));
    }
  }
  void Finish() {
    if (writer_) {
      Check(writer_->Finish());
    }
  }

 private:
  static void Warn(const Error& error) { LOG_WARNING("{}; it is not written", error.message); }
  void Check(const Result<void>& done) {
    if (!done.ok()) {
      Warn(done.error());
      writer_.reset();
    }
  }
  std::optional<RepackCache::Writer> writer_;
};

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Packs one weight after another. Each worker takes some rows at a time from source to panels, or some columns where
// these lie together, and then lets go of the source: what is read need not all be there at once, and rows that are
// made for this lie in the worker's own caches.
class Packer {
 public:
  Packer(Network& network, ThreadPool& pool)
      : network_(network), pool_(pool), made_(static_cast<size_t>(pool.threads())) {}

  // The view's rows become panels in `target`, which it then reads.
  void Pack(kernels::WeightView& weight, std::byte* target) {
    const LateRows* const late = LateOf(network_, weight);
    if (late != nullptr && !late->written()) {
      PackLate(weight, *late, target);
      network_.files->Evict(late->source());
    } else {
      ForRows(weight, 1, target, [&](const kernels::WeightView& rows, int /*worker*/, std::byte* panels) {
        kernels::PackPanels(rows, panels);
        network_.files->Evict(std::span(rows.data, static_cast<size_t>(rows.rows * rows.row_bytes)));
      });
    }
    Bind(weight, target);
    FreeUnread(network_);
    if (++packed_ % kPackedAtOnce == 0) {
      network_.files->Evict();
    }
  }

 private:
  // Some rows at a time, in whole panels and stretches of `together`; every worker gets its share.
  template <typename Take>
  void ForRows(const kernels::WeightView& weight, int64_t together, std::byte* target, Take take) const {
    const kernels::Packing packing = kernels::PackingOf(weight.format);
    const int64_t unit = std::lcm(kernels::kPanelRows, together);
    const int64_t share = std::min(kSourceBytes / weight.row_bytes, weight.rows) / pool_.threads();
    const int64_t step = std::max(share / unit * unit, unit);
    pool_.ParallelFor((weight.rows + step - 1) / step, [&](int64_t stretch, int worker) {
      const int64_t begin = stretch * step;
      take(Rows(weight, begin, std::min(begin + step, weight.rows)), worker,
           target + kernels::PackedBytes(packing, begin, weight.columns));
    });
  }

  // Packs rows that are not there yet.
  void PackLate(const kernels::WeightView& weight, const LateRows& late, std::byte* target) {
    const LateRows::Maker maker = late.NewMaker();
    const LateRows::Shape& shape = late.shape();
    const int64_t begin = FirstRow(weight, late);
    const int64_t end = begin + weight.rows;
    const bool whole = begin % shape.together == 0 && (end % shape.together == 0 || end == shape.rows);
    if (maker.panels && whole && shape.source_order == LateRows::SourceOrder::kColumns) {
      PackColumns(begin, end, kernels::PackingOf(weight.format), late, maker, target);
    } else if (maker.gather && whole) {
      PackGathered(begin, end, kernels::PackingOf(weight.format), late, maker, target);
    } else {
      ForRows(weight, shape.together, target, [&](const kernels::WeightView& rows, int worker, std::byte* panels) {
        PackMade(rows, late, maker, made_[static_cast<size_t>(worker)], panels);
      });
    }
  }

  static int64_t FirstRow(const kernels::WeightView& rows, const LateRows& late) {
    return (rows.data - late.rows().data()) / late.shape().row_bytes;  // a part of a fused matrix begins inside
  }

  void PackMade(kernels::WeightView rows, const LateRows& late, const LateRows::Maker& maker, LazyMemory& made,
                std::byte* panels) const {
    const LateRows::Shape& shape = late.shape();
    const int64_t first = FirstRow(rows, late);
    const int64_t begin = first / shape.together * shape.together;
    const int64_t end =
        std::min(shape.rows, (first + rows.rows + shape.together - 1) / shape.together * shape.together);
    if (maker.panels && !maker.gather && begin == first && end == first + rows.rows) {
      maker.panels({begin, end, 0, rows.columns}, panels);
    } else {
      const auto bytes = static_cast<size_t>((end - begin) * shape.row_bytes);
      if (made.get_deleter().bytes < bytes) {
        made = ReserveMemory(bytes);
      }
      maker.rows(begin, end, made.get());
      rows.data = made.get() + (first - begin) * shape.row_bytes;
      kernels::PackPanels(rows, panels);
    }
    network_.files->Evict(late.SourceOf({begin, end, 0, 0}));  // no column is done with
  }

  // All rows of some columns at a time; where these are fewer stretches than workers, some rows of them.
  void PackColumns(int64_t begin, int64_t end, const kernels::Packing& packing, const LateRows& late,
                   const LateRows::Maker& maker, std::byte* target) const {
    const LateRows::Shape& shape = late.shape();
    const int64_t column_bytes = static_cast<int64_t>(late.source().size()) / shape.columns + 1;
    const int64_t share = std::min(kSourceBytes / column_bytes, shape.columns) / pool_.threads();
    const int64_t columns = std::max(share / shape.columns_together, int64_t{1}) * shape.columns_together;
    const int64_t stretches = (shape.columns + columns - 1) / columns;
    const int64_t parts = (pool_.threads() + stretches - 1) / stretches;
    const int64_t unit = std::lcm(kernels::kPanelRows, shape.together);
    const int64_t rows = ((end - begin + parts - 1) / parts + unit - 1) / unit * unit;
    const int64_t row_steps = (end - begin + rows - 1) / rows;
    pool_.ParallelFor(stretches * row_steps, [&](int64_t item, int) {
      const int64_t row = begin + item % row_steps * rows;
      const int64_t column = item / row_steps * columns;
      const LateRows::Part part{row, std::min(row + rows, end), column, std::min(column + columns, shape.columns)};
      maker.panels(part, target + kernels::PackedBytes(packing, row - begin, shape.columns));
      network_.files->Evict(late.SourceOf(part));
    });
  }

  // Every row needs all lines of the source, so that packed rows let go of none. The lines are read in order instead,
  // once, into the memory of the panels, which are then packed where they lie.
  void PackGathered(int64_t begin, int64_t end, const kernels::Packing& packing, const LateRows& late,
                    const LateRows::Maker& maker, std::byte* target) const {
    const LateRows::Shape& shape = late.shape();
    const int64_t line_bytes = static_cast<int64_t>(late.source().size()) / shape.lines + 1;
    const int64_t lines = std::max(kSourceBytes / line_bytes / pool_.threads(), kLinesAtOnce);
    pool_.ParallelFor((shape.lines + lines - 1) / lines, [&](int64_t stretch, int) {
      const int64_t first = stretch * lines;
      const int64_t last = std::min(first + lines, shape.lines);
      maker.gather({first, last, begin, end}, target);
      network_.files->Evict(late.SourceOfLines(first, last));
    });
    const int64_t rows = std::lcm(kernels::kPanelRows, shape.together);
    pool_.ParallelFor((end - begin + rows - 1) / rows, [&](int64_t stretch, int) {
      const int64_t row = begin + stretch * rows;
      maker.panels({row, std::min(row + rows, end), 0, shape.columns},
                   target + kernels::PackedBytes(packing, row - begin, shape.columns));
    });
  }

  Network& network_;
  ThreadPool& pool_;
  std::vector<LazyMemory> made_;  // of each worker
  size_t packed_ = 0;             // weights
};

}  // namespace

Result<PackReport> PackWeights(Network& network, ThreadPool& pool, const RepackCache* cache,
                               const std::function<void(double)>& progress) {
  const PackJob packing = JobOf(network);
  PackReport report;
  for (const RepackPart& part : packing.parts) {
    report.bytes += part.bytes;
    report.source_bytes += part.source_bytes;
  }
  if (packing.parts.empty()) {
    return report;
  }
  const auto start = Clock::now();
  if (cache != nullptr && MapFrom(*cache, packing, network, pool)) {
    report.seconds = SecondsSince(start);
    report.cached = true;
    return report;
  }
  ReturnFreedMemory();  // of reading names and texts; what follows takes the most
  CacheWriter writer(cache, packing);
  const std::vector<int64_t> offsets = RepackCache::OffsetsOf(packing.parts);  // as in the cache's file
  ASSIGN_OR_RETURN(PackedMemory memory, PackedMemory::Allocate(offsets.back()));
  Packer packer(network, pool);
  for (size_t i = 0; i < packing.parts.size(); ++i) {
    auto begin = Clock::now();
    std::byte* const packed = memory.data() + offsets[i];
    memory.Populate(offsets[i], packing.parts[i].bytes, pool);
    report.memory_seconds += SecondsSince(begin);
    begin = Clock::now();
    packer.Pack(packing.projections[i]->weight, packed);
    report.seconds += SecondsSince(begin);
    writer.Write(i, {packed, static_cast<size_t>(packing.parts[i].bytes)});
    progress(static_cast<double>(i + 1) / static_cast<double>(packing.parts.size()));
  }
  network.packed = std::move(memory);
  writer.Finish();
  return report;
}

}  // namespace causeway::model
