// Merges the sources of settings: flag > CAUSEWAY_* variable > configuration file > built-in
// default. (The model's generation config comes between file and built-in; model/ reads it,
// ApplyOverrides in server/config/derive.h lays the settings over it.)
//
// Pure: the caller passes in what the sources hold.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/config/config_file.h"
#include "server/config/options.h"

namespace causeway::server {

struct OptionSources {
  std::map<std::string, std::vector<std::string>, std::less<>> flags;  // by option name
  // The value of an environment variable; nothing if it is not set.
  std::function<std::optional<std::string>(std::string_view)> environment;
  // All variables named CAUSEWAY_*, to warn of one that is nearly a setting.
  std::vector<std::string> environment_names;
  // Reads a file; used for the one that `config` names.
  std::function<Result<std::string>(const std::string&)> read_file;
};

enum class OptionOrigin : uint8_t { kDefault, kFile, kEnvironment, kFlag };

struct Resolution {
  Options options;
  std::vector<OptionOrigin> origins;  // of each row of OptionTable()
  std::vector<std::string> errors;    // every one that was found, each a line that names its source
  std::vector<std::string> warnings;
};

// Looks at all sources and reports all errors at once; `options` is only meant to be used without
// any. A list in an environment variable is separated by commas.
Resolution ResolveOptions(const OptionSources& sources);

// "port=8080 (flag), model=x (file)": what differs from the defaults; secrets as "***".
std::string DescribeSettings(const Resolution& resolution);

// A configuration file with every option and its documentation. Settings that differ from their
// default are active lines, the others are comments that show the default; secrets are left out.
std::string DumpConfig(const Options& options);

// The known name nearest to a mistyped one; empty if none is near.
std::string_view NearestOption(std::string_view name);

}  // namespace causeway::server
