#include "server/cli/reload.h"

#include <string>

#include "base/log.h"
#include "fmt/ranges.h"
#include "server/config/value.h"

namespace causeway::server {

void Reload(const OptionFlags& flags, Options& running) {
  const Resolution resolution = flags.ResolveQuietly();
  for (const std::string& error : resolution.errors) {
    LOG_ERROR("reload: {}", error);
  }
  if (!resolution.errors.empty()) {
    return;
  }
  for (const OptionRow& row : OptionTable()) {
    const auto now = OptionTexts(row, resolution.options);
    if (now != OptionTexts(row, running) && !row.reloadable) {
      LOG_WARNING("reload: {} has changed{}, which takes a restart", row.name,
                  row.secret ? "" : fmt::format(" to {}", fmt::join(now, ",")));
    }
  }
  if (const auto set = SetLogLevel(resolution.options.log_level); !set.ok()) {
    LOG_ERROR("reload: {}", set.error().message);
    return;
  }
  running.log_level = resolution.options.log_level;
  LOG_INFO("reloaded: log-level is {}", running.log_level);
}

}  // namespace causeway::server
