#include "server/template/runtime.h"

#include "server/template/fault.h"
#include "server/template/filters.h"
#include "server/template/operators.h"
#include "server/template/predicates.h"

namespace causeway::server {

void Runtime::Charge(size_t steps) {
  steps_ += steps;
  if (steps_ > limits_.max_steps) {
    RaiseLimit("max_steps", limits_.max_steps);
  }
}

void Runtime::ChargeIteration() {
  Charge(1);
  if (++iterations_ > limits_.max_loop_iterations) {
    RaiseLimit("max_loop_iterations", limits_.max_loop_iterations);
  }
}

Runtime::Depth::Depth(Runtime* runtime) : runtime_(runtime) {
  if (runtime_->depth_ >= runtime_->limits_.max_depth) {
    RaiseLimit("max_depth", runtime_->limits_.max_depth);
  }
  ++runtime_->depth_;
}

Namespace* Runtime::NewNamespace(std::string type_name) {
  Charge(4);
  namespaces_.emplace_back();
  namespaces_.back().type_name = std::move(type_name);
  return &namespaces_.back();
}

LoopState* Runtime::NewLoop() {
  Charge(4);
  return &loops_.emplace_back();
}

Value Runtime::Call(const Value& callee, CallArgs& args) {
  const Depth depth(this);
  Charge(1);
  if (callee.Is(Kind::kCallable)) {
    return callee.callable().function(*this, args);
  }
  if (callee.Is(Kind::kLoop) && !callee.loop()->recurse.Is(Kind::kNone)) {
    return Call(callee.loop()->recurse, args);
  }
  if (callee.Is(Kind::kLoop)) {
    RaiseType("The loop must have the 'recursive' marker to be called recursively.");
  }
  if (callee.Is(Kind::kUndefined)) {
    RaiseUndefined(callee);
  }
  RaiseType("'" + callee.TypeName() + "' object is not callable");
}

Value Runtime::ApplyFilter(std::string_view name, const Value& input, CallArgs& args) {
  const Depth depth(this);
  Charge(1);
  const FilterFunction filter = FindFilter(name);
  if (filter == nullptr) {
    Raise("TemplateRuntimeError", "No filter named '" + std::string(name) + "' found; known: " + FilterNames());
  }
  return filter(*this, input, args);
}

bool Runtime::ApplyTest(std::string_view name, const Value& input, CallArgs& args) {
  const Depth depth(this);
  Charge(1);
  const TestFunction test = FindTest(name);
  if (test == nullptr) {
    Raise("TemplateRuntimeError", "No test named '" + std::string(name) + "' found; known: " + TestNames());
  }
  return test(*this, input, args);
}

}  // namespace causeway::server
