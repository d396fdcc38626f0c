// The seam between decisions and work. model::Runner is the real one; tests use a fake of sixty lines.
#pragma once

#include "base/result.h"
#include "scheduler/plan.h"

namespace causeway::scheduler {

// Called by the engine thread only.
class Executor {
 public:
  virtual ~Executor() = default;

  // Starts a step. The plan stays valid and unchanged until its Await has returned.
  virtual void Launch(const Plan& plan) = 0;
  // Waits for the launched step. The result is the executor's own, to be used again: valid until the next
  // Launch. An error fails the requests of that step; the engine goes on.
  virtual Result<const StepResult*> Await() = 0;

  // Between steps: gives back the memory that weights and activations take, and takes it again. A failed Wake leaves
  // the executor asleep.
  virtual Result<void> Sleep() { return {}; }
  virtual Result<void> Wake() { return {}; }
};

}  // namespace causeway::scheduler
