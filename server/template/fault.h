// How evaluation stops early. The interpreter is mutually recursive through parser, evaluator, filters
// and closures, and any node of it can fail; threading Result<T> through each of those calls would bury
// the language under plumbing. So Fault is thrown inside this folder only, and ChatTemplate::Parse and
// ChatTemplate::Render are the two places that catch it and return an Error. It never leaves the module.
#pragma once

#include <string>
#include <utility>

#include "base/result.h"

namespace causeway::server {

struct Fault {
  ErrorCode code = ErrorCode::kInvalidArgument;
  std::string type;  // Python's or Jinja's name of the error ("TypeError"); empty: the message stands alone
  std::string message;
  int line = 0;  // 1-based template line; 0 when not known yet
};

[[noreturn]] inline void Raise(std::string type, std::string message, int line = 0) {
  throw Fault{ErrorCode::kInvalidArgument, std::move(type), std::move(message), line};
}
[[noreturn]] inline void RaiseType(std::string message) { Raise("TypeError", std::move(message)); }
[[noreturn]] inline void RaiseValue(std::string message) { Raise("ValueError", std::move(message)); }
[[noreturn]] inline void RaiseUnsupported(std::string message, int line = 0) {
  throw Fault{ErrorCode::kUnsupported, "", std::move(message), line};
}
// `limit` is the member of TemplateLimits that was exceeded.
[[noreturn]] inline void RaiseLimit(const char* limit, size_t bound) {
  Raise("LimitError", std::string("over the limit ") + limit + " = " + std::to_string(bound));
}

}  // namespace causeway::server
