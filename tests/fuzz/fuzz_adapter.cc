// model/adapter on arbitrary bytes: a line of adapter_config.json, then adapter_model.safetensors, for a small network.
// What is accepted can be computed with: kernels read within the adapter's memory (a sanitizer watches).
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "kernels/scratch.h"
#include "model/adapter/batch.h"
#include "model/network.h"

namespace causeway::model {
namespace {

// Weights are not looked at, so there are none.
Projection Part(const char* module, int64_t first, int64_t rows, int64_t of, int64_t columns) {
  Projection projection;
  projection.weight.rows = rows;
  projection.weight.columns = columns;
  projection.module = module;
  projection.module_first = first;
  projection.module_rows = of;
  return projection;
}

Network TinyNetwork() {
  Network network;
  network.hidden = 6;
  Layer& layer = network.layers.emplace_back();
  layer.attention.q = Part("model.layers.0.self_attn.qkv_proj", 0, 6, 10, 6);
  layer.attention.k = Part("model.layers.0.self_attn.qkv_proj", 6, 2, 10, 6);
  layer.attention.v = Part("model.layers.0.self_attn.qkv_proj", 8, 2, 10, 6);
  layer.attention.o = Part("model.layers.0.self_attn.o_proj", 0, 6, 6, 6);
  layer.mlp.gate = Part("model.layers.0.mlp.gate_proj", 0, 7, 7, 6);
  layer.mlp.up = Part("model.layers.0.mlp.up_proj", 0, 7, 7, 6);
  layer.mlp.down = Part("model.layers.0.mlp.down_proj", 0, 6, 6, 7);
  network.head = Part("lm_head", 0, 9, 9, 6);
  return network;
}

void Compute(const Network& network, const Adapter& adapter) {
  static ThreadPool pool({.threads = 1, .pin = false});
  static kernels::Scratch scratch(1);
  kernels::Stream stream{pool, scratch};
  AdapterBatch batch;
  batch.Add(&adapter, 0, 2);
  const std::vector<float> x(2 * 7, 1.0F);
  for (int64_t i = 0; i <= kLayerSlots; ++i) {
    const auto slot = static_cast<Slot>(i);
    const Projection& projection = *ProjectionAt(network, 0, slot);
    std::vector<float> y(static_cast<size_t>(2 * projection.weight.rows));
    const AdapterBatch::Output output{slot, y.data(), projection.weight.rows};
    batch.Apply(**kernels::SelectOps(""), stream, 0, x.data(), 7, projection.weight.columns, {&output, 1});
  }
}

}  // namespace
}  // namespace causeway::model

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace causeway::model;
  static const Network network = TinyNetwork();
  const uint8_t* const line = std::find(data, data + size, '\n');
  if (line == data + size) {
    return 0;
  }
  const std::string_view config(reinterpret_cast<const char*>(data), static_cast<size_t>(line - data));
  const auto adapter = MakeAdapter(network, {.name = "fuzzed", .path = "", .max_rank = 8}, config,
                                   std::as_bytes(std::span(line + 1, data + size)));
  if (adapter.ok()) {
    CHECK((*adapter)->rank() >= 1 && (*adapter)->rank() <= 8 && (*adapter)->modules() >= 1);
    Compute(network, **adapter);
  }
  return 0;
}
