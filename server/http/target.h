// The target of a request line. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace causeway::server {

// "/v1/models/org%2Fname?x=1" and "http://host/v1/models/org/name" -> "/v1/models/org/name". Nothing for a target
// that is neither a path nor "*", has a broken escape, or holds a control character.
std::optional<std::string> PathOf(std::string_view target);

// The part behind the first '?', up to '#'; empty if there is none.
std::string_view QueryOf(std::string_view target);
// The decoded value of `name` in "a=1&b=2"; nothing if it is not there or has a broken escape.
std::optional<std::string> QueryValue(std::string_view query, std::string_view name);

}  // namespace causeway::server
