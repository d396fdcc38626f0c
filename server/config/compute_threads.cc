#include "server/config/compute_threads.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/cpu_affinity.h"

namespace causeway::server {

Result<ThreadPoolOptions> ToThreadPoolOptions(int64_t threads, const std::string& cpu_affinity) {
  ThreadPoolOptions pool{.threads = static_cast<int>(threads), .pin = cpu_affinity != "off"};
  if (cpu_affinity == "auto" || cpu_affinity == "off") {
    return pool;
  }
  ASSIGN_OR_RETURN(pool.cpus, ParseCpuList(cpu_affinity));
  for (const int cpu : pool.cpus) {
    if (std::ranges::find(AllowedCpus(), cpu) == AllowedCpus().end()) {
      return MakeError(ErrorCode::kInvalidArgument,
                       fmt::format("--cpu-affinity {}: this process may not use CPU {}, only {}", cpu_affinity, cpu,
                                   FormatCpuList(AllowedCpus())),
                       "cpu-affinity");
    }
  }
  if (threads != 0 && static_cast<size_t>(threads) != pool.cpus.size()) {
    return MakeError(
        ErrorCode::kInvalidArgument,
        fmt::format("--cpu-affinity {} names {} CPUs for {} threads", cpu_affinity, pool.cpus.size(), threads),
        "cpu-affinity");
  }
  pool.threads = static_cast<int>(pool.cpus.size());
  return pool;
}

}  // namespace causeway::server
