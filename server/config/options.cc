#include "server/config/options.h"

#include "base/check.h"
#include "server/config/value.h"

namespace causeway::server {

std::string_view OptionGroupTitle(OptionGroup group) {
  switch (group) {
    case OptionGroup::kModel: return "Model";
    case OptionGroup::kAnswers: return "Answers (where a request leaves it out)";
    case OptionGroup::kMachine: return "Machine";
    case OptionGroup::kScheduling: return "Scheduling";
    case OptionGroup::kListening: return "Listening";
    case OptionGroup::kLimits: return "Limits";
    case OptionGroup::kLog: return "Log";
    case OptionGroup::kConfig: return "Configuration";
  }
  CHECK_MSG(false, "unknown option group");
}

const OptionRow* FindOption(std::string_view name) {
  for (const OptionRow& row : OptionTable()) {
    if (row.name == name) {
      return &row;
    }
  }
  return nullptr;
}

std::string EnvironmentName(std::string_view option) {
  std::string name = "CAUSEWAY_";
  for (const char c : option) {
    name += c == '-' ? '_' : c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  }
  return name;
}

Options DefaultOptions() {
  Options options;
  for (const OptionRow& row : OptionTable()) {
    if (!row.fallback.empty()) {
      const std::string text(row.fallback);
      const Result<void> set = SetOption(row, {&text, 1}, options);
      CHECK_MSG(set.ok(), "default of {}: {}", row.name, set.error().message);
    }
  }
  return options;
}

}  // namespace causeway::server
