// Counters that somebody else keeps: the difference since the last scrape is added.
#pragma once

#include <cstdint>

#include <prometheus/counter.h>

namespace causeway::server {

inline void RaiseTo(prometheus::Counter& counter, uint64_t value) {
  const double more = static_cast<double>(value) - counter.Value();
  if (more > 0) {
    counter.Increment(more);
  }
}

}  // namespace causeway::server
