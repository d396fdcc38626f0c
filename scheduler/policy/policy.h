// The one order that a schedule rests on, as a pure function: who comes first is admitted first, gets its
// prompt computed first, and is preempted last.
#pragma once

#include <compare>

#include "base/clock.h"
#include "scheduler/plan.h"
#include "scheduler/request.h"

namespace causeway::scheduler {

// Smaller comes first. A total order that does not depend on the time of asking, so two sequences never
// take turns at preempting each other, and the first of all always gets on.
struct Precedence {
  Instant rank;
  SequenceId id = 0;  // first come, first served among equals

  auto operator<=>(const Precedence&) const = default;
};

// A class counts as `ageing` of waiting: a request goes before one of the next more important class that
// came more than `ageing` after it. So what comes later than its rank never goes before it, and no class
// starves.
Precedence PrecedenceOf(Instant arrival, Priority priority, SequenceId id, Duration ageing);

}  // namespace causeway::scheduler
