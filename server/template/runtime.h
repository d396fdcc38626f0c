// The state of one rendering: what it may still cost, and the mutable objects it made. One Runtime serves
// one thread for one Render call. Filters, tests and methods reach the rendering through it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "server/template/limits.h"
#include "server/template/value.h"

namespace causeway::server {

// What `loop` is inside a for block.
struct LoopState {
  std::vector<Value> items;  // emptied when the loop ends
  size_t index0 = 0;
  size_t length = 0;
  size_t depth0 = 0;   // nesting of a recursive loop
  Value recurse;       // callable of a recursive loop; None otherwise
  Value last_changed;  // arguments of the last loop.changed(); None before the first
};

class Runtime {
 public:
  Runtime(const TemplateLimits& limits, int64_t now_unix_seconds)
      : limits_(limits), now_unix_seconds_(now_unix_seconds) {}
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  const TemplateLimits& limits() const { return limits_; }
  int64_t now_unix_seconds() const { return now_unix_seconds_; }

  // Each throws a LimitError when its bound is passed.
  void Charge(size_t steps);
  void ChargeBytes(size_t bytes) { Charge(1 + bytes / 64); }
  void ChargeIteration();

  // Counts evaluation depth; every recursive walk over syntax or values holds one.
  class Depth {
   public:
    explicit Depth(Runtime* runtime);
    ~Depth() { --runtime_->depth_; }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;

   private:
    Runtime* const runtime_;
  };

  // Both live until the rendering ends, so that values may point at them.
  Namespace* NewNamespace(std::string type_name);
  LoopState* NewLoop();

  Value Call(const Value& callee, CallArgs& args);
  Value ApplyFilter(std::string_view name, const Value& input, CallArgs& args);
  bool ApplyTest(std::string_view name, const Value& input, CallArgs& args);

 private:
  const TemplateLimits limits_;
  const int64_t now_unix_seconds_;
  size_t steps_ = 0;
  size_t iterations_ = 0;
  size_t depth_ = 0;
  std::deque<Namespace> namespaces_;
  std::deque<LoopState> loops_;
};

}  // namespace causeway::server
