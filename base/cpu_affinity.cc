#include "base/cpu_affinity.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>

#include <sched.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/control_group.h"
#include "fmt/format.h"

namespace causeway {
namespace {

constexpr int kMaxCpus = 8192;  // the most that Linux can be built for on x86
using CpuSet = std::array<cpu_set_t, kMaxCpus / CPU_SETSIZE>;

std::vector<int> ReadAllowedCpus() {
  CpuSet allowed{};
  std::vector<int> cpus;
  if (::sched_getaffinity(0, sizeof(allowed), allowed.data()) == 0) {
    for (int cpu = 0; cpu < kMaxCpus; ++cpu) {
      if (CPU_ISSET_S(static_cast<size_t>(cpu), sizeof(allowed), allowed.data())) {
        cpus.push_back(cpu);
      }
    }
  }
  return cpus.empty() ? std::vector<int>{0} : cpus;
}

// CPUs' worth of time of one group.
double QuotaOf(const ControlGroup& group) {
  constexpr double kNone = std::numeric_limits<double>::infinity();
  std::optional<int64_t> quota;
  std::optional<int64_t> period;
  if (group.version == 1) {
    quota = LeadingNumber(ReadSystemFile(group.folder + "/cpu.cfs_quota_us").value_or(""));
    period = LeadingNumber(ReadSystemFile(group.folder + "/cpu.cfs_period_us").value_or(""));
  } else {  // "200000 100000", or "max 100000"
    const std::string text = ReadSystemFile(group.folder + "/cpu.max").value_or("");
    const std::string_view both = text;
    quota = LeadingNumber(both);
    period = LeadingNumber(both.substr(std::min(both.find(' '), both.size())));
  }
  if (!quota || !period || *quota <= 0 || *period <= 0) {
    return kNone;  // version 1 says -1
  }
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

Error BadList(std::string_view text, std::string_view why) {
  return MakeError(ErrorCode::kInvalidArgument, fmt::format("'{}' is no list of CPUs like 0-3,8: {}", text, why),
                   "cpu-affinity");
}

bool ParseCpu(std::string_view text, int& cpu) {
  const auto [rest, status] = std::from_chars(text.data(), text.data() + text.size(), cpu);
  return status == std::errc() && rest == text.data() + text.size() && cpu >= 0 && cpu < kMaxCpus;
}

}  // namespace

const std::vector<int>& AllowedCpus() {
  static const std::vector<int> kCpus = ReadAllowedCpus();
  return kCpus;
}

std::vector<int> OnePerCore(const std::vector<int>& cpus, const std::string& root) {
  std::vector<int> cores;
  std::set<std::pair<int64_t, int64_t>> seen;  // package, core
  for (const int cpu : cpus) {
    const std::string topology = fmt::format("{}/sys/devices/system/cpu/cpu{}/topology/", root, cpu);
    const auto package = LeadingNumber(ReadSystemFile(topology + "physical_package_id").value_or(""));
    const auto core = LeadingNumber(ReadSystemFile(topology + "core_id").value_or(""));
    if (!core || seen.emplace(package.value_or(0), *core).second) {
      cores.push_back(cpu);
    }
  }
  return cores;
}

double CpuQuota(const std::string& root) {
  double quota = std::numeric_limits<double>::infinity();
  for (const ControlGroup& group : ControlGroups("cpu", root)) {
    quota = std::min(quota, QuotaOf(group));
  }
  return quota;
}

int DefaultThreads() {
  const auto cores = static_cast<double>(OnePerCore(AllowedCpus()).size());
  return std::max(1, static_cast<int>(std::floor(std::min(cores, CpuQuota()))));
}

Result<std::vector<int>> ParseCpuList(std::string_view text) {
  std::vector<int> cpus;
  std::set<int> seen;
  for (std::string_view rest = text;;) {
    const size_t end = std::min(rest.find(','), rest.size());
    const std::string_view item = rest.substr(0, end);
    const size_t dash = item.find('-');
    int first = 0;
    int last = 0;
    if (!ParseCpu(item.substr(0, dash), first) ||
        !ParseCpu(dash == std::string_view::npos ? item : item.substr(dash + 1), last) || last < first) {
      return BadList(text, fmt::format("'{}'", item));
    }
    for (int cpu = first; cpu <= last; ++cpu) {
      if (!seen.insert(cpu).second) {
        return BadList(text, fmt::format("{} is in it twice", cpu));
      }
      cpus.push_back(cpu);
    }
    if (end == rest.size()) {
      return cpus;
    }
    rest.remove_prefix(end + 1);
  }
}

std::string FormatCpuList(const std::vector<int>& cpus) {
  std::string text;
  for (size_t i = 0; i < cpus.size();) {
    size_t last = i;
    while (last + 1 < cpus.size() && cpus[last + 1] == cpus[last] + 1) {
      ++last;
    }
    text += fmt::format("{}{}", text.empty() ? "" : ",", cpus[i]);
    text += last > i ? fmt::format("-{}", cpus[last]) : "";
    i = last + 1;
  }
  return text;
}

bool BindThread(pthread_t thread, const std::vector<int>& cpus) {
  CpuSet set{};
  for (const int cpu : cpus) {
    CPU_SET_S(static_cast<size_t>(cpu), sizeof(set), set.data());
  }
  return ::pthread_setaffinity_np(thread, sizeof(set), set.data()) == 0;
}

// An abstract name (its first byte is zero): the kernel gives it to one socket and frees it with the process.
std::optional<CpuClaim> CpuClaim::Take(int cpu) {
  const int socket = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (socket < 0) {
    return CpuClaim(cpu, -1);
  }
  const std::string name = fmt::format("causeway-computes-on-cpu-{}", cpu);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  CpuClaim claim(cpu, socket);
  const bool taken = ::bind(socket, reinterpret_cast<const sockaddr*>(&address), length) != 0 && errno == EADDRINUSE;
  return taken ? std::nullopt : std::optional<CpuClaim>(std::move(claim));
}

CpuClaim::~CpuClaim() {
  if (socket_ >= 0) {
    ::close(socket_);
  }
}

std::vector<CpuClaim> ClaimCores(int threads) {
  std::vector<CpuClaim> claims;
  if (CpuQuota() < static_cast<double>(AllowedCpus().size())) {
    return claims;
  }
  for (const int core : OnePerCore(AllowedCpus())) {
    if (auto claim = CpuClaim::Take(core)) {
      claims.push_back(std::move(*claim));
    }
    if (claims.size() == static_cast<size_t>(threads)) {
      return claims;
    }
  }
  claims.clear();
  return claims;
}

}  // namespace causeway
