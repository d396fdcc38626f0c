// base/json.h on arbitrary bytes: never throws, keeps its limits, and what it accepts survives a
// round trip.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto document = causeway::ParseJson(text, {.max_depth = 16, .max_nodes = 1000});
  if (document.ok()) {
    const std::string printed = causeway::DumpJson(*document);
    const auto again = causeway::ParseJson(printed, {.max_depth = 16, .max_nodes = 1000});
    CHECK_MSG(again.ok(), "printed JSON does not parse: {}", printed);
    CHECK(causeway::DumpJson(*again) == printed);
  }
  const auto ordered = causeway::ParseOrderedJson(text, {.max_depth = 16, .max_nodes = 1000});
  CHECK(ordered.ok() == document.ok());
  return 0;
}
