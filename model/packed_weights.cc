#include "model/packed_weights.h"

#include <sys/mman.h>

#include <algorithm>
#include <utility>

#include "fmt/format.h"
#include "kernels/packed.h"
#include "model/network.h"

namespace causeway::model {
namespace {

constexpr int64_t kHugePage = int64_t{2} << 20;

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
  // Inputs that a checkpoint rounds its own way are not to be rounded twice.
  return projection.weight.data != nullptr && projection.weight.input_rounding == nullptr &&
         kernels::PackingOf(projection.weight.format).kind != kernels::PackedKind::kNone;
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

}  // namespace

void PackedMemory::Unmap::operator()(std::byte* memory) const { ::munmap(memory, static_cast<size_t>(bytes)); }

Result<PackedMemory> PackedMemory::Allocate(int64_t bytes) {
  void* const memory =
      ::mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return MakeError(ErrorCode::kResourceExhausted,
                     fmt::format("there is no memory for {} bytes of packed weights", bytes));
  }
  if (bytes >= kHugePage) {
    ::madvise(memory, static_cast<size_t>(bytes), MADV_HUGEPAGE);  // a hint: refusal costs only speed
  }
  return PackedMemory(static_cast<std::byte*>(memory), bytes);
}

Result<void> PackWeights(Network& network, ThreadPool& pool, const std::function<void(double)>& progress) {
  const std::vector<Projection*> projections = ProjectionsOf(network);
  for (size_t i = 0; i < projections.size(); ++i) {
    if (!IsPacked(*projections[i])) {
      continue;
    }
    kernels::WeightView& weight = projections[i]->weight;
    ASSIGN_OR_RETURN(PackedMemory memory, PackedMemory::Allocate(kernels::PackedBytes(kernels::PackingOf(weight.format),
                                                                                      weight.rows, weight.columns)));
    kernels::PackPanels(weight, memory.data(), pool);
    weight.data = memory.data();
    weight.row_bytes = 0;
    weight.layout = kernels::WeightLayout::kPanels;
    network.packed.push_back(std::move(memory));
    network.files->Evict();
    FreeUnread(network);
    progress(static_cast<double>(i + 1) / static_cast<double>(projections.size()));
  }
  return {};
}

int64_t PackedBytesOf(const Network& network) {
  int64_t bytes = 0;
  for (const PackedMemory& memory : network.packed) {
    bytes += memory.bytes();
  }
  return bytes;
}

}  // namespace causeway::model
