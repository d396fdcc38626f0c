#include "model/packed_weights.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include "base/log.h"
#include "kernels/packed.h"
#include "model/network.h"
#include "model/repack_cache.h"

namespace causeway::model {
namespace {

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
  return projection.weight.data != nullptr &&
         kernels::PackedKindOf(projection.weight.format) != kernels::PackedKind::kNone;
}

bool PointsInto(const kernels::WeightView& weight, const std::vector<std::byte>& owned) {
  return weight.layout == kernels::WeightLayout::kRows && weight.data >= owned.data() &&
         weight.data < owned.data() + owned.size();
}

// Owned rows that no view reads any more.
void FreeUnread(Network& network) {
  std::vector<kernels::WeightView> views = {network.embedding};
  if (network.positions) {
    views.push_back(*network.positions);
  }
  for (const Projection* const projection : ProjectionsOf(network)) {
    views.push_back(projection->weight);
  }
  for (std::vector<std::byte>& owned : network.owned) {
    if (std::none_of(views.begin(), views.end(), [&](const auto& view) { return PointsInto(view, owned); })) {
      owned = {};
    }
  }
}

// The projections that are packed, and what of.
struct Packing {
  std::vector<Projection*> projections;
  std::vector<RepackPart> parts;
};

Packing PackingOf(Network& network) {
  Packing packing;
  for (Projection* const projection : ProjectionsOf(network)) {
    if (IsPacked(*projection)) {
      const kernels::WeightView& weight = projection->weight;
      packing.projections.push_back(projection);
      packing.parts.push_back(
          {weight, kernels::PackedBytes(kernels::PackedKindOf(weight.format), weight.rows, weight.columns)});
    }
  }
  return packing;
}

void Bind(kernels::WeightView& weight, const std::byte* packed) {
  weight.data = packed;
  weight.row_bytes = 0;
  weight.layout = kernels::WeightLayout::kPanels;
}

bool MapFrom(const RepackCache& cache, const Packing& packing, Network& network, ThreadPool& pool) {
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
  network.packed.push_back(std::move(*mapped));
  network.files->Evict();
  FreeUnread(network);
  return true;
}

// The cache's file while weights are packed. The first failure is logged and ends it.
class CacheWriter {
 public:
  CacheWriter(const RepackCache* cache, const Packing& packing) {
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

Result<void> PackOne(kernels::WeightView& weight, int64_t bytes, Network& network, ThreadPool& pool) {
  ASSIGN_OR_RETURN(PackedMemory memory, PackedMemory::Allocate(bytes));
  kernels::PackPanels(weight, memory.data(), pool);
  Bind(weight, memory.data());
  network.packed.push_back(std::move(memory));
  network.files->Evict();
  FreeUnread(network);
  return {};
}

}  // namespace

Result<PackReport> PackWeights(Network& network, ThreadPool& pool, const RepackCache* cache,
                               const std::function<void(double)>& progress) {
  const Packing packing = PackingOf(network);
  PackReport report;
  for (const RepackPart& part : packing.parts) {
    report.source_bytes += part.source.rows * part.source.row_bytes;
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
  CacheWriter writer(cache, packing);
  for (size_t i = 0; i < packing.parts.size(); ++i) {
    const auto begin = Clock::now();
    TRY(PackOne(packing.projections[i]->weight, packing.parts[i].bytes, network, pool));
    report.seconds += SecondsSince(begin);
    const PackedMemory& memory = network.packed.back();
    writer.Write(i, {memory.data(), static_cast<size_t>(memory.bytes())});
    progress(static_cast<double>(i + 1) / static_cast<double>(packing.parts.size()));
  }
  writer.Finish();
  return report;
}

int64_t PackedBytesOf(const Network& network) {
  int64_t bytes = 0;
  for (const PackedMemory& memory : network.packed) {
    bytes += memory.bytes();
  }
  return bytes;
}

}  // namespace causeway::model
