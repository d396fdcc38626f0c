// The gauges and counters of the KV cache, its tenants and tiers, and the states.
#pragma once

#include <memory>

#include <prometheus/labels.h>
#include <prometheus/registry.h>

#include "server/metrics/memory_figures.h"

namespace causeway::server {

// Used by one thread at a time.
class KvMetrics {
 public:
  KvMetrics(prometheus::Registry& registry, const prometheus::Labels& labels);
  ~KvMetrics();

  void Set(const MemoryFigures& figures);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace causeway::server
