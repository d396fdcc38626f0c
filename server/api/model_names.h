// The names that requests may give as their model: those of the model itself, and adapters.
#pragma once

#include <string>

#include "base/result.h"
#include "server/api/adapters.h"
#include "server/api/app.h"
#include "server/api/generation.h"

namespace causeway::server {

// The adapter of this name; null for the model itself, also where no name is given. kNotFound for any other.
Result<AdapterRef> FindModelName(const App& app, const std::string& name);

// What responses call it.
const std::string& ModelNameOf(const App& app, const AdapterRef& adapter);

}  // namespace causeway::server
