// The control groups that this process is in: every one from its own up to the root may have a limit.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace causeway {

struct ControlGroup {
  std::string path;    // "/a/b"; the root is "/"
  std::string folder;  // where its files lie, "/sys/fs/cgroup/a/b"
  int version = 2;
};

// Groups of a controller ("memory", "cpu"), innermost first, in both versions of the interface; at most 64 levels of
// each. `root` is put in front of /proc and /sys paths, for tests.
std::vector<ControlGroup> ControlGroups(std::string_view controller, const std::string& root = "");

// The first 1 MiB of a file of /proc or /sys; nothing if it cannot be read.
std::optional<std::string> ReadSystemFile(const std::string& path);

// "  123 kB" is 123; nothing if the text does not start with a number ("max").
std::optional<int64_t> LeadingNumber(std::string_view text);

}  // namespace causeway
