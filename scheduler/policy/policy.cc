#include "scheduler/policy/policy.h"

namespace causeway::scheduler {

Precedence PrecedenceOf(Instant arrival, Priority priority, SequenceId id, Duration ageing) {
  return {arrival + static_cast<int>(priority) * ageing, id};
}

}  // namespace causeway::scheduler
