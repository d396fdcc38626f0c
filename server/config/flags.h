// The option table as command-line flags of a CLI11 (sub)command.
#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "server/config/resolve.h"

namespace CLI {
class App;
}

namespace causeway::server {

// Adds the flags of some groups to a command and collects what the user gave.
//
//   OptionFlags flags(*command, {OptionGroup::kModel, OptionGroup::kMachine});
//   ... CLI11 parses, the command's callback runs ...
//   Result<Resolution> settings = flags.Resolve();
class OptionFlags {
 public:
  // `positional` names a row that may also be given without its flag, as in `causeway serve MODEL`.
  OptionFlags(CLI::App& command, std::initializer_list<OptionGroup> groups, std::string_view positional = {});
  ~OptionFlags();
  OptionFlags(const OptionFlags&) = delete;
  OptionFlags& operator=(const OptionFlags&) = delete;

  // After parsing: merges the flags with this process's environment and the file, and prints
  // warnings on stderr. On errors, prints every one of them on stderr, a line each, and the
  // returned Error counts them.
  Result<Resolution> Resolve() const;
  // The same without printing. The environment and the file are read again (SIGHUP).
  Resolution ResolveQuietly() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace causeway::server
