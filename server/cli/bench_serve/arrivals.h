// When requests arrive. Pure: a schedule is a function of its kind, rate and seed.
#pragma once

#include <cstdint>

namespace causeway::server::bench {

enum class ArrivalKind : uint8_t { kFixed, kPoisson };

// Hands out arrival times in order, in seconds since the start of the run.
class Arrivals {
 public:
  // `rate` in requests/s; infinite: everything arrives at once.
  Arrivals(ArrivalKind kind, double rate, uint64_t seed) : kind_(kind), rate_(rate), seed_(seed) {}

  // The time of the next arrival; the first is at 0.
  double Next();

 private:
  ArrivalKind kind_;
  double rate_;
  uint64_t seed_;
  uint64_t count_ = 0;
  double time_ = 0;
};

}  // namespace causeway::server::bench
