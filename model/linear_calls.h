// What the linear calls of a step multiply, in the order in which they follow each other: each one tells its kernel
// what comes next.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "model/network.h"

namespace causeway::model {

// The weights of one call.
struct LinearCall {
  const kernels::WeightView* weights[3];
  size_t count;

  std::span<const kernels::WeightView* const> all() const { return {weights, count}; }
};

inline LinearCall QkvCall(const Layer& layer) {
  return {{&layer.attention.q.weight, &layer.attention.k.weight, &layer.attention.v.weight}, 3};
}
inline LinearCall OutputCall(const Layer& layer) { return {{&layer.attention.o.weight}, 1}; }
inline LinearCall UpCall(const Layer& layer) { return {{&layer.mlp.gate.weight, &layer.mlp.up.weight}, 2}; }
inline LinearCall DownCall(const Layer& layer) { return {{&layer.mlp.down.weight}, 1}; }
// The next layer's first one, or the head's.
inline LinearCall CallAfterLayer(const Network& network, int64_t layer) {
  const auto next = static_cast<size_t>(layer + 1);
  return next < network.layers.size() ? QkvCall(network.layers[next]) : LinearCall{{&network.head.weight}, 1};
}

}  // namespace causeway::model
