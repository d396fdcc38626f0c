#include "base/control_group.h"

#include <algorithm>
#include <charconv>
#include <fstream>

namespace causeway {
namespace {

constexpr size_t kMaxFileBytes = 1 << 20;
constexpr int kMaxDepth = 64;

// Whether "cpu,cpuacct" names the controller.
bool Names(std::string_view controllers, std::string_view controller) {
  while (!controllers.empty()) {
    const size_t end = std::min(controllers.find(','), controllers.size());
    if (controllers.substr(0, end) == controller) {
      return true;
    }
    controllers.remove_prefix(std::min(end + 1, controllers.size()));
  }
  return false;
}

// A line of /proc/self/cgroup, "id:controllers:path", and the groups above.
void AddGroups(std::string_view line, std::string_view controller, const std::string& root,
               std::vector<ControlGroup>& groups) {
  const size_t first = line.find(':');
  const size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
  if (second == std::string_view::npos) {
    return;
  }
  const std::string_view controllers = line.substr(first + 1, second - first - 1);
  const bool unified = controllers.empty();  // version 2 has one hierarchy for all
  if (!unified && !Names(controllers, controller)) {
    return;
  }
  const std::string mount = root + "/sys/fs/cgroup" + (unified ? "" : "/" + std::string(controller));
  std::string path(line.substr(second + 1));
  for (int depth = 0; depth < kMaxDepth; ++depth) {
    const bool top = path.empty() || path == "/";
    groups.push_back({top ? "/" : path, mount + (top ? "" : path), unified ? 2 : 1});
    if (top) {
      return;
    }
    path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
  }
}

}  // namespace

std::vector<ControlGroup> ControlGroups(std::string_view controller, const std::string& root) {
  std::vector<ControlGroup> groups;
  const std::string text = ReadSystemFile(root + "/proc/self/cgroup").value_or("");
  for (std::string_view rest = text; !rest.empty();) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    AddGroups(rest.substr(0, end), controller, root, groups);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return groups;
}

std::optional<std::string> ReadSystemFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file.good()) {
    return std::nullopt;
  }
  std::string text(kMaxFileBytes, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

std::optional<int64_t> LeadingNumber(std::string_view text) {
  const size_t first = std::min(text.find_first_not_of(" \t"), text.size());
  int64_t value = 0;
  const auto [rest, status] = std::from_chars(text.data() + first, text.data() + text.size(), value);
  return status == std::errc() ? std::optional<int64_t>(value) : std::nullopt;
}

}  // namespace causeway
