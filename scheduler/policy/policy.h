// The two orders that a schedule rests on, as pure functions: who comes in next, and who goes when pages
// run out.
#pragma once

#include "base/clock.h"
#include "scheduler/plan.h"

namespace causeway::scheduler {

struct AdmissionKey {
  int priority;  // class; 0 is the most important
  Instant arrival;
  SequenceId id;
};

// True if `a` is admitted before `b`: by class, lifted by one for each `ageing` it has waited, so that no
// class starves; then first come, first served.
bool AdmitsBefore(const AdmissionKey& a, const AdmissionKey& b, Instant now, Duration ageing);

struct VictimKey {
  int priority;
  SequenceId id;
};

// True if `a` is preempted before `b`: the least important class, then the newest. A total order, so the
// most important, oldest sequence always gets on: no livelock.
bool PreemptsBefore(const VictimKey& a, const VictimKey& b);

}  // namespace causeway::scheduler
