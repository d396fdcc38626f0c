// Time is passed in as an Instant; only the engine thread, the front ends and main read the clock.
#pragma once

#include <chrono>

namespace causeway {

using Clock = std::chrono::steady_clock;
using Instant = Clock::time_point;
using Duration = Clock::duration;

// "No deadline".
inline constexpr Instant kNever = Instant::max();

inline double ToSeconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace causeway
