// Where the time of a step goes: a table of ops that calls another one and keeps a clock. Who does not make one pays
// nothing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "kernels/op_cost.h"
#include "kernels/ops.h"

namespace causeway::kernels {

struct TracedOp {
  std::string name;  // "attention", "linear down"
  int64_t calls = 0;
  double seconds = 0;  // on the caller's clock, forks and joins included
  OpCost cost;
};

// Owner: one thread, which also calls the ops; one trace a thread at a time. `inner` outlives it.
class OpTrace {
 public:
  explicit OpTrace(const Ops& inner);
  ~OpTrace();
  OpTrace(const OpTrace&) = delete;
  OpTrace& operator=(const OpTrace&) = delete;

  // Same bits as `inner`, under its name.
  const Ops& ops() const { return traced_; }
  const Ops& inner() const { return inner_; }

  // Linear calls whose first target is this weight count as "linear NAME"; others as "linear".
  void NameWeight(const std::byte* data, std::string_view name) { weight_names_[data] = "linear " + std::string(name); }

  void Add(std::string_view name, double seconds, const OpCost& cost);
  std::string_view NameOf(const LinearArgs& args) const;

  // What was called since the last time, in the order of first calls.
  std::vector<TracedOp> Take();

 private:
  const Ops& inner_;
  Ops traced_;
  std::unordered_map<const std::byte*, std::string> weight_names_;
  std::vector<TracedOp> called_;
};

}  // namespace causeway::kernels
