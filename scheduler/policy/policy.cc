#include "scheduler/policy/policy.h"

namespace causeway::scheduler {
namespace {

int64_t EffectiveClass(const AdmissionKey& key, Instant now, Duration ageing) {
  const int64_t lifted = now > key.arrival ? (now - key.arrival) / ageing : 0;
  return key.priority - lifted;
}

}  // namespace

bool AdmitsBefore(const AdmissionKey& a, const AdmissionKey& b, Instant now, Duration ageing) {
  const int64_t a_class = EffectiveClass(a, now, ageing);
  const int64_t b_class = EffectiveClass(b, now, ageing);
  if (a_class != b_class) {
    return a_class < b_class;
  }
  return a.id < b.id;
}

bool PreemptsBefore(const VictimKey& a, const VictimKey& b) {
  return a.priority != b.priority ? a.priority > b.priority : a.id > b.id;
}

}  // namespace causeway::scheduler
