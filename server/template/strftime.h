// Python's strftime in the C locale, for strftime_now().
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace causeway::server {

// `unix_seconds` is the wall clock to show (UTC unless the caller added an offset). Unknown directives
// are copied as they are. The result is at most 32 times as long as `format`.
std::string FormatTime(std::string_view format, int64_t unix_seconds);

}  // namespace causeway::server
