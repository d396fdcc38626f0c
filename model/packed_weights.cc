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
#include "kernels/packed.h"
#include "model/builder.h"
#include "model/files.h"
#include "model/network.h"
#include "model/repack_cache.h"

namespace causeway::model {
namespace {

constexpr size_t kSamplesAtOnce = 16;               // weights, whose pages are then let go of
constexpr int64_t kSourceBytes = int64_t{1} << 20;  // read, or made, between two evictions

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

bool PointsInto(const kernels::WeightView& weight, const std::vector<std::byte>& owned) {
  return weight.layout == kernels::WeightLayout::kRows && weight.data >= owned.data() &&
         weight.data < owned.data() + owned.size();
}

// The late rows that a view reads; null: it reads others.
LateRows* LateOf(Network& network, const kernels::WeightView& weight) {
  const auto it = std::find_if(network.late.begin(), network.late.end(),
                               [&](const LateRows& late) { return late.Holds(weight.data); });
  return it == network.late.end() ? nullptr : &*it;
}

// Rows of ours that no view reads any more, and what others that are late would have been made of.
void FreeUnread(Network& network) {
  std::vector<kernels::WeightView> views = {network.embedding};
  if (network.positions) {
    views.push_back(*network.positions);
  }
  for (const Projection* const projection : ProjectionsOf(network)) {
    views.push_back(projection->weight);
  }
  for (LateRows& late : network.late) {
    if (std::none_of(views.begin(), views.end(), [&](const auto& view) { return late.Holds(view.data); })) {
      late.Free();
    }
  }
  for (std::vector<std::byte>& owned : network.owned) {
    const bool read =
        std::any_of(views.begin(), views.end(), [&](const auto& view) { return PointsInto(view, owned); }) ||
        std::any_of(network.late.begin(), network.late.end(), [&](const LateRows& late) {
          return late.source().data() >= owned.data() && late.source().data() < owned.data() + owned.size();
        });
    if (!read) {
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
  network.files->Evict();
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

// So many of a weight's rows at once that their bytes are kSourceBytes, in whole panels and stretches of `together`.
int64_t RowsAtOnce(const kernels::WeightView& weight, int64_t together) {
  const int64_t unit = std::lcm(kernels::kPanelRows, together);
  return std::max(kSourceBytes / weight.row_bytes / unit * unit, unit);
}

// Rows that are not there yet are made in a place of their own, which the next ones take.
void PackLate(const kernels::WeightView& weight, const LateRows& late, std::byte* target, const ModelFiles& files,
              ThreadPool& pool) {
  const kernels::Packing kind = kernels::PackingOf(weight.format);
  const auto [all, row_bytes, together] = late.shape();
  const int64_t first = (weight.data - late.rows().data()) / row_bytes;  // a part of a fused matrix begins inside
  const int64_t step = RowsAtOnce(weight, together);
  const LazyMemory made = ReserveMemory(static_cast<size_t>((step + 2 * together) * row_bytes));
  const LateRows::WriteRows write = late.Writer();
  for (int64_t row = 0; row < weight.rows; row += step) {
    const int64_t end = std::min(weight.rows, row + step);
    const int64_t begin_made = (first + row) / together * together;
    const int64_t end_made = std::min(all, (first + end + together - 1) / together * together);
    write(begin_made, end_made, made.get(), pool);
    kernels::WeightView rows = Rows(weight, row, end);
    rows.data = made.get() + (first + row - begin_made) * row_bytes;
    kernels::PackPanels(rows, target + kernels::PackedBytes(kind, row, weight.columns), pool);
    files.Evict();
  }
}

// Some rows at a time, and then their source is let go of: what is read need not all be there at once.
void PackMapped(const kernels::WeightView& weight, std::byte* target, const ModelFiles& files, ThreadPool& pool) {
  const kernels::Packing kind = kernels::PackingOf(weight.format);
  const int64_t step = RowsAtOnce(weight, kernels::kPanelRows);
  for (int64_t row = 0; row < weight.rows; row += step) {
    const int64_t end = std::min(weight.rows, row + step);
    kernels::PackPanels(Rows(weight, row, end), target + kernels::PackedBytes(kind, row, weight.columns), pool);
    files.Evict();
  }
}

void PackOne(kernels::WeightView& weight, std::byte* target, Network& network, ThreadPool& pool) {
  const LateRows* const late = LateOf(network, weight);
  if (late != nullptr && !late->written()) {
    PackLate(weight, *late, target, *network.files, pool);
  } else {
    PackMapped(weight, target, *network.files, pool);
  }
  Bind(weight, target);
  FreeUnread(network);
}

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
  for (size_t i = 0; i < packing.parts.size(); ++i) {
    auto begin = Clock::now();
    std::byte* const packed = memory.data() + offsets[i];
    memory.Populate(offsets[i], packing.parts[i].bytes, pool);
    report.memory_seconds += SecondsSince(begin);
    begin = Clock::now();
    PackOne(packing.projections[i]->weight, packed, network, pool);
    report.seconds += SecondsSince(begin);
    writer.Write(i, {packed, static_cast<size_t>(packing.parts[i].bytes)});
    progress(static_cast<double>(i + 1) / static_cast<double>(packing.parts.size()));
  }
  network.packed = std::move(memory);
  writer.Finish();
  return report;
}

}  // namespace causeway::model
