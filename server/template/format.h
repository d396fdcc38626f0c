// Python's two ways of formatting: "%" and str.format.
#pragma once

#include "server/template/runtime.h"
#include "server/template/value.h"

namespace causeway::server {

// format % args: args is a tuple, a dict (for %(name)s) or one value.
Value PercentFormat(Runtime& runtime, const Value& format, const Value& args);

// format.format(*args, **kwargs), with attribute and item lookup as the sandbox allows it.
Value BraceFormat(Runtime& runtime, const Value& format, const CallArgs& args);

}  // namespace causeway::server
