#include "server/config/environment.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include <sys/ioctl.h>
#include <unistd.h>

namespace causeway::server {

std::optional<std::string> ReadEnvironment(std::string_view name) {
  const char* value = std::getenv(std::string(name).c_str());
  if (value == nullptr || *value == '\0') {
    return std::nullopt;
  }
  return std::string(value);
}

std::vector<std::string> EnvironmentNames(std::string_view prefix) {
  std::vector<std::string> names;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    if (text.starts_with(prefix)) {
      names.emplace_back(text.substr(0, text.find('=')));
    }
  }
  return names;
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

size_t StdoutColumns() {
  constexpr size_t kNarrowest = 60;
  constexpr size_t kUsual = 100;
  constexpr size_t kWidest = 120;
  size_t columns = kUsual;
  winsize window{};
  if (isatty(STDOUT_FILENO) == 1 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0) {
    columns = window.ws_col;
  } else if (const auto text = ReadEnvironment("COLUMNS")) {
    size_t value = 0;
    const auto parsed = std::from_chars(text->data(), text->data() + text->size(), value);
    columns = parsed.ec == std::errc() && value > 0 ? value : kUsual;
  }
  return std::clamp(columns, kNarrowest, kWidest);
}

}  // namespace causeway::server
