// Configuration files: `name = value` lines, a subset of TOML that INI users can read too.
//
//   # a comment
//   port = 8000
//   model = "org/name"              quotes are optional where the value has no space, comma, quote
//   or # served-model-name = ["a", "b"]  on one line
//
// Underscores in names count as hyphens. No sections, no multi-line values, no escapes in strings.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace causeway::server {

struct FileSetting {
  std::string name;
  std::vector<std::string> texts;
  int line = 0;
};

struct ConfigFile {
  std::vector<FileSetting> settings;
  std::vector<std::string> errors;  // "line 3: ..."; the other lines were still read
};

ConfigFile ParseConfigFile(std::string_view text);

// A regular file of at most `max_bytes`. Errors name the path.
Result<std::string> ReadTextFile(const std::string& path, int64_t max_bytes);

// One line that ParseConfigFile reads back as these texts. Fails where a text holds both kinds of
// quotes.
Result<std::string> FormatSetting(std::string_view name, const std::vector<std::string>& texts, bool list);

}  // namespace causeway::server
