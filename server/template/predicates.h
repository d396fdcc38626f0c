// Jinja's tests ("value is NAME"): one table.
#pragma once

#include <string>
#include <string_view>

#include "server/template/runtime.h"
#include "server/template/value.h"

namespace causeway::server {

using TestFunction = bool (*)(Runtime& runtime, const Value& value, const CallArgs& args);

TestFunction FindTest(std::string_view name);  // null if there is no such test
std::string TestNames();                       // comma-separated, for error messages

}  // namespace causeway::server
