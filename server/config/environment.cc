#include "server/config/environment.h"

#include <cstdlib>

#include <unistd.h>

namespace causeway::server {

std::optional<std::string> ReadEnvironment(std::string_view name) {
  const char* value = std::getenv(std::string(name).c_str());
  if (value == nullptr || *value == '\0') {
    return std::nullopt;
  }
  return std::string(value);
}

std::vector<std::string> HubCaches() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (const auto cache = ReadEnvironment(name)) {
      return {*cache};
    }
  }
  if (const auto home = ReadEnvironment("HF_HOME")) {
    return {*home + "/hub"};
  }
  if (const auto cache = ReadEnvironment("XDG_CACHE_HOME")) {
    return {*cache + "/huggingface/hub"};
  }
  if (const auto home = ReadEnvironment("HOME")) {
    return {*home + "/.cache/huggingface/hub"};
  }
  return {};
}

bool StderrIsTerminal() {
  const auto terminal = ReadEnvironment("TERM");
  return isatty(STDERR_FILENO) == 1 && terminal != "dumb";
}

}  // namespace causeway::server
