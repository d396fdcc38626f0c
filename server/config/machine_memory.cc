#include "server/config/machine_memory.h"

#include <charconv>
#include <optional>
#include <string_view>

#include <fmt/format.h>

#include "server/config/config_file.h"

namespace causeway::server {
namespace {

constexpr int64_t kMaxFileBytes = 1 << 20;
constexpr int kMaxDepth = 64;

std::optional<std::string> Read(const std::string& path) {
  Result<std::string> text = ReadTextFile(path, kMaxFileBytes);
  return text.ok() ? std::optional<std::string>(std::move(text).value()) : std::nullopt;
}

std::optional<int64_t> LeadingNumber(std::string_view text) {
  const size_t first = std::min(text.find_first_not_of(" \t"), text.size());
  int64_t value = 0;
  const auto [rest, status] = std::from_chars(text.data() + first, text.data() + text.size(), value);
  return status == std::errc() ? std::optional<int64_t>(value) : std::nullopt;
}

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
  std::string_view hierarchy;  // the prefix of the line of /proc/self/cgroup
  std::string_view mount;
  std::string_view limit;
  std::string_view usage;
  std::string_view reclaimable;  // field of memory.stat: page cache that the kernel would give up
};
constexpr GroupFiles kGroups[] = {
    {"0::", "/sys/fs/cgroup", "/memory.max", "/memory.current", "inactive_file "},
    {"memory:", "/sys/fs/cgroup/memory", "/memory.limit_in_bytes", "/memory.usage_in_bytes", "total_inactive_file "},
};

// The group's path from /proc/self/cgroup: "0::/a/b" or "5:memory:/a/b".
std::optional<std::string> GroupPath(std::string_view text, std::string_view hierarchy) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    const size_t found = line.find(hierarchy);
    if (found != std::string_view::npos && (found == 0 || hierarchy != "0::")) {
      return std::string(line.substr(found + hierarchy.size()));
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return std::nullopt;
}

// Every group from the process's own up to the root may have a limit.
void ApplyGroupLimits(const std::string& root, const GroupFiles& files, std::string path, MachineMemory& memory) {
  for (int depth = 0; depth < kMaxDepth; ++depth) {
    const std::string folder = fmt::format("{}{}{}", root, files.mount, path == "/" ? "" : path);
    const auto limit = Read(folder + std::string(files.limit));
    const auto usage = Read(folder + std::string(files.usage));
    const auto limit_bytes = limit ? LeadingNumber(*limit) : std::nullopt;  // "max": none
    const auto usage_bytes = usage ? LeadingNumber(*usage) : std::nullopt;
    if (limit_bytes && usage_bytes) {
      const auto stat = Read(folder + "/memory.stat");
      const int64_t reclaimable = stat ? Field(*stat, files.reclaimable).value_or(0) : 0;
      const int64_t left = std::max<int64_t>(0, *limit_bytes - std::max<int64_t>(0, *usage_bytes - reclaimable));
      if (left < memory.available_bytes) {
        memory = {left, fmt::format("the control group {}", path.empty() ? "/" : path)};
      }
    }
    if (path.empty() || path == "/") {
      return;
    }
    path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
  }
}

}  // namespace

Result<MachineMemory> ReadMachineMemory(const std::string& root) {
  const auto meminfo = Read(root + "/proc/meminfo");
  const auto available = meminfo ? Field(*meminfo, "MemAvailable:") : std::nullopt;
  if (!available) {
    return MakeError(ErrorCode::kFailedPrecondition, "cannot read MemAvailable from /proc/meminfo");
  }
  MachineMemory memory{*available * 1024, "the machine"};
  const auto groups = Read(root + "/proc/self/cgroup");
  for (const GroupFiles& files : kGroups) {
    if (const auto path = GroupPath(groups.value_or(""), files.hierarchy)) {
      ApplyGroupLimits(root, files, *path, memory);
    }
  }
  return memory;
}

int64_t PeakMemoryBytes(const std::string& root) {
  const auto status = Read(root + "/proc/self/status");
  return status ? Field(*status, "VmHWM:").value_or(0) * 1024 : 0;
}

}  // namespace causeway::server
