// The functions that every template may call by name: Jinja's (range, dict, namespace, cycler, joiner)
// and those that chat templates are given (raise_exception, strftime_now).
#pragma once

#include <string_view>

#include "server/template/value.h"

namespace causeway::server {

// The function of that name, or a value of kind kUndefined.
Value FindGlobal(std::string_view name);

}  // namespace causeway::server
