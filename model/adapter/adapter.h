// A LoRA adapter in memory: low-rank terms beside the projections of one network, whatever format its weights have.
// The base is not changed: each row of a batch gets the terms of its own adapter (batch.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernels/low_rank.h"
#include "model/network.h"
#include "scheduler/adapter.h"

namespace causeway::model {

// The projections of a layer, and the head, which has no layer.
enum class Slot : uint8_t { kQ, kK, kV, kO, kGate, kUp, kDown, kHead };
inline constexpr int64_t kLayerSlots = 7;

// Null where the network has none (an ungated MLP's gate).
const Projection* ProjectionAt(const Network& network, int64_t layer, Slot slot);

// Immutable. Usable with the network that it was loaded for only.
class Adapter final : public scheduler::Adapter {
 public:
  // The term of one projection; no `a`: there is none. What it is added to, the caller fills in.
  using Term = kernels::LowRankTerm;

  struct Content {
    std::vector<std::byte> memory;  // that the terms point into
    std::vector<Term> terms;        // [layers * kLayerSlots + 1]
    std::string path;
    std::string base_model;  // as its configuration calls it
    int64_t rank = 0;        // the largest
    int64_t modules = 0;
    int64_t parameters = 0;
  };
  Adapter(std::string name, const Digest& digest, Content content);

  const Term& Of(int64_t layer, Slot slot) const {
    const int64_t index =
        slot == Slot::kHead ? layers() * kLayerSlots : layer * kLayerSlots + static_cast<int64_t>(slot);
    return content_.terms[static_cast<size_t>(index)];
  }
  int64_t layers() const { return (std::ssize(content_.terms) - 1) / kLayerSlots; }
  const std::string& path() const { return content_.path; }
  const std::string& base_model() const { return content_.base_model; }
  int64_t rank() const { return content_.rank; }
  int64_t modules() const { return content_.modules; }
  int64_t parameters() const { return content_.parameters; }
  int64_t bytes() const { return static_cast<int64_t>(content_.memory.size()); }

 private:
  const Content content_;
};

struct AdapterLoadOptions {
  std::string name;  // that requests use
  std::string path;  // a folder as PEFT writes it: adapter_config.json and adapter_model.safetensors
  int64_t max_rank = 256;
};

// Reads and checks an adapter: every tensor has its place and shape, every target its tensors. The files are read, not
// mapped: they may change afterwards. kNotFound, kUnsupported or kInvalidArgument with the file and what is wrong.
// Any thread.
Result<std::shared_ptr<const Adapter>> LoadAdapter(const Network& network, const AdapterLoadOptions& options);

// The two of a step; for tests and LoadAdapter. `file` is adapter_model.safetensors.
Result<std::shared_ptr<const Adapter>> MakeAdapter(const Network& network, const AdapterLoadOptions& options,
                                                   std::string_view config, std::span<const std::byte> file);

}  // namespace causeway::model
