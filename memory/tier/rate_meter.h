// A rate as measured lately.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/clock.h"

namespace causeway::memory {

// One thread adds, any thread reads.
class RateMeter {
 public:
  void Add(int64_t bytes, Duration time) {
    const double seconds = ToSeconds(time);
    if (bytes <= 0 || seconds <= 0) {
      return;
    }
    const double now = static_cast<double>(bytes) / seconds;
    const double before = rate_.load(std::memory_order_relaxed);
    rate_.store(before == 0 ? now : before + (now - before) * kWeight, std::memory_order_relaxed);
  }
  // In bytes a second; 0: nothing was measured.
  double rate() const { return rate_.load(std::memory_order_relaxed); }

 private:
  static constexpr double kWeight = 0.2;  // of the latest measurement
  std::atomic<double> rate_{0};
};

// Lets a warning pass at most once a minute, so that a failing disk does not fill another with its log.
class WarningGate {
 public:
  // Used by one thread. True: warn.
  bool Pass(Instant now) {
    if (now < next_) {
      return false;
    }
    next_ = now + std::chrono::minutes(1);
    return true;
  }

 private:
  Instant next_ = Instant::min();
};

}  // namespace causeway::memory
