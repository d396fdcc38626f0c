// causeway inspect --memory
#pragma once

#include <string>

namespace causeway::server {

// Prints what GET /v1/memory of the server at `url` says, as a table or as JSON. Returns the exit code.
int InspectMemory(const std::string& url, const std::string& api_key, bool json);

}  // namespace causeway::server
