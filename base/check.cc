#include "base/check.h"

#include <cstdlib>

#include <unistd.h>

namespace causeway::internal {

void CheckFailed(const char* file, int line, const char* condition, const std::string& message) {
  // write(2), not the logger: the logger may be the thing that is broken.
  std::string text = fmt::format("{}:{}: CHECK failed: {}", file, line, condition);
  if (!message.empty()) {
    text += " (" + message + ")";
  }
  text += '\n';
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), text.size());
  std::abort();
}

}  // namespace causeway::internal
