// Weights repacked at load for integer arithmetic.
#pragma once

#include <cstdint>
#include <functional>

#include "base/result.h"
#include "base/thread_pool.h"

namespace causeway::model {

class RepackCache;  // model/repack_cache.h
struct Network;

// How the weights came to be packed.
struct PackReport {
  int64_t bytes = 0;          // packed; 0: nothing was
  int64_t source_bytes = 0;   // of the rows that were packed, or that the cache's bytes stand for
  double seconds = 0;         // for packing, or for mapping and checking the cache's file
  double memory_seconds = 0;  // for the system to clear the memory that packed weights lie in
  bool cached = false;        // mapped from the repack cache
};

// Packs every projection whose format kernels have integer arithmetic for, tensor by tensor on the pool, and lets go of
// what it was read from: pages of the files, and rows that the network owned. At no time is there more than the packed
// weights and one tensor's rows. Embeddings stay rows. kResourceExhausted: no memory. `progress` gets fractions.
//
// With a cache, what it holds of these weights is mapped instead; what it does not is packed and written to it, and
// failures of either are logged.
Result<PackReport> PackWeights(Network& network, ThreadPool& pool, const RepackCache* cache,
                               const std::function<void(double)>& progress);

}  // namespace causeway::model
