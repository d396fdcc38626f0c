#include "server/cli/bench_serve/arrivals.h"

#include <cmath>

#include "base/rng.h"

namespace causeway::server::bench {

namespace {
constexpr uint64_t kArrivalStream = 1;
}

double Arrivals::Next() {
  const uint64_t index = count_++;
  if (index == 0 || std::isinf(rate_)) {
    return 0;
  }
  if (kind_ == ArrivalKind::kFixed) {
    return static_cast<double>(index) / rate_;
  }
  // Gaps of a Poisson process are exponential; 1 - u is in (0, 1].
  time_ += -std::log(1.0 - RandomUniform(seed_, kArrivalStream, index)) / rate_;
  return time_;
}

}  // namespace causeway::server::bench
