#include "server/config/machine_memory.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include <fmt/format.h>

#include "base/control_group.h"

namespace causeway::server {
namespace {

// The number after `key` at the start of a line: "MemAvailable:  123 kB".
std::optional<int64_t> Field(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    if (text.substr(0, key.size()) == key) {
      return LeadingNumber(text.substr(key.size(), end - key.size()));
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return std::nullopt;
}

struct GroupFiles {
  std::string_view limit;
  std::string_view usage;
  std::string_view reclaimable;  // field of memory.stat: page cache that the kernel would give up
};
constexpr GroupFiles kVersion1 = {"/memory.limit_in_bytes", "/memory.usage_in_bytes", "total_inactive_file "};
constexpr GroupFiles kVersion2 = {"/memory.max", "/memory.current", "inactive_file "};

void ApplyGroupLimit(const ControlGroup& group, MachineMemory& memory) {
  const GroupFiles& files = group.version == 1 ? kVersion1 : kVersion2;
  const auto limit = ReadSystemFile(group.folder + std::string(files.limit));
  const auto usage = ReadSystemFile(group.folder + std::string(files.usage));
  const auto limit_bytes = limit ? LeadingNumber(*limit) : std::nullopt;  // "max": none
  const auto usage_bytes = usage ? LeadingNumber(*usage) : std::nullopt;
  if (!limit_bytes || !usage_bytes) {
    return;
  }
  const auto stat = ReadSystemFile(group.folder + "/memory.stat");
  const int64_t reclaimable = stat ? Field(*stat, files.reclaimable).value_or(0) : 0;
  const int64_t left = std::max<int64_t>(0, *limit_bytes - std::max<int64_t>(0, *usage_bytes - reclaimable));
  if (left < memory.available_bytes) {
    memory = {left, fmt::format("the control group {}", group.path)};
  }
}

}  // namespace

Result<MachineMemory> ReadMachineMemory(const std::string& root) {
  const auto meminfo = ReadSystemFile(root + "/proc/meminfo");
  const auto available = meminfo ? Field(*meminfo, "MemAvailable:") : std::nullopt;
  if (!available) {
    return MakeError(ErrorCode::kFailedPrecondition, "cannot read MemAvailable from /proc/meminfo");
  }
  MachineMemory memory{*available * 1024, "the machine"};
  for (const ControlGroup& group : ControlGroups("memory", root)) {
    ApplyGroupLimit(group, memory);
  }
  return memory;
}

int64_t PeakMemoryBytes(const std::string& root) {
  const auto status = ReadSystemFile(root + "/proc/self/status");
  return status ? Field(*status, "VmHWM:").value_or(0) * 1024 : 0;
}

}  // namespace causeway::server
