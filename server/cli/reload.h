// What SIGHUP does to a running server.
#pragma once

#include "server/config/flags.h"
#include "server/config/options.h"

namespace causeway::server {

// Reads the environment and the file again and applies the reloadable rows. Other rows that changed are logged as
// waiting for a restart; a mistake is logged and changes nothing. `running` is updated. Main thread.
void Reload(const OptionFlags& flags, Options& running);

}  // namespace causeway::server
