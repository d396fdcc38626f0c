// The memory's figures: gathered, and as GET /v1/memory shows them.
#pragma once

#include "base/json.h"
#include "server/api/app.h"

namespace causeway::server {

// Any thread; waits for nobody. The classes of pages add up to the budget; tenants and counters are read one after the
// other and may be a step apart.
MemoryFigures ReadMemory(const App& app);
OrderedJson MemoryJson(const MemoryFigures& figures);

}  // namespace causeway::server
