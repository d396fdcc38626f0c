// The methods of str, dict, list and tuple that a template may call, and those of `loop`. One table a
// type. Methods that change their object exist only as a refusal, as in Jinja's immutable sandbox.
#pragma once

#include <string_view>

#include "server/template/runtime.h"
#include "server/template/value.h"

namespace causeway::server {

using MethodFunction = Value (*)(Runtime& runtime, const Value& self, const CallArgs& args);

struct MethodRow {
  std::string_view name;
  MethodFunction function;
};

MethodFunction FindStringMethod(std::string_view name);                 // methods_string.cc
MethodFunction FindCollectionMethod(Kind kind, std::string_view name);  // methods_collection.cc

// object.name as a bound method. Of kind kUndefined if there is none, or if it is one that would change
// the object (then any use of it is a SecurityError).
Value FindMethod(const Value& object, std::string_view name);
Value LoopMethod(LoopState* loop, std::string_view name);  // cycle, changed

}  // namespace causeway::server
