// JSON from files and clients, with limits. nlohmann's own parser is wrapped here and nowhere else, so
// that depth, node count and number range are checked before a document exists.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/result.h"

namespace causeway {

using Json = nlohmann::json;                 // objects sorted by key
using OrderedJson = nlohmann::ordered_json;  // objects in document order (templates need it)

struct JsonLimits {
  size_t max_depth = 64;       // nesting of arrays and objects
  size_t max_nodes = 1000000;  // values and keys
  bool unique_keys = false;    // a key that an object holds twice is an error, not an overwrite
};

// Parses one whole document. Errors (kInvalidArgument) name the byte offset: malformed text, invalid
// UTF-8, NaN, numbers beyond a double (1e400), too deep, too many nodes. Ordered objects are lists that are
// searched from the front at every key, so those also have a bound on that work (one object of 20,000 keys).
Result<Json> ParseJson(std::string_view text, const JsonLimits& limits = {});
Result<OrderedJson> ParseOrderedJson(std::string_view text, const JsonLimits& limits = {});

// Serializes; invalid UTF-8 in strings becomes U+FFFD, so this never throws.
std::string DumpJson(const Json& value);
std::string DumpJson(const OrderedJson& value);

}  // namespace causeway
