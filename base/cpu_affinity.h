// The CPUs of this process: which it may use, for how much of the time, and who computes on which.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <pthread.h>

#include "base/result.h"

namespace causeway {

// CPUs that the process may run on, as they were when this was first called (a thread bound later does not narrow
// them); ascending, never empty.
const std::vector<int>& AllowedCpus();

// The first of `cpus` on each physical core. `root` is put in front of /sys paths, for tests.
std::vector<int> OnePerCore(const std::vector<int>& cpus, const std::string& root = "");

// CPUs' worth of time that control groups allow this process (the kernel's CFS quota); infinite if they do not say.
double CpuQuota(const std::string& root = "");

// One thread for each physical core of this process, or as many as its quota pays for; at least one.
int DefaultThreads();

// "0-3,8" to {0, 1, 2, 3, 8}, in the order given, and back. Errors: what is no such list, names a CPU twice or one
// beyond 8191; `param` is cpu-affinity.
Result<std::vector<int>> ParseCpuList(std::string_view text);
std::string FormatCpuList(const std::vector<int>& cpus);

// Lets a thread run on these CPUs only; false if the kernel refuses.
bool BindThread(pthread_t thread, const std::vector<int>& cpus);

// Says to other processes on this machine (of one network namespace) that a pool computes on a CPU, as long as it
// lives. A claim binds no one who does not ask.
class CpuClaim {
 public:
  // Nothing if another pool, of this or of another process, has claimed the CPU.
  static std::optional<CpuClaim> Take(int cpu);
  ~CpuClaim();
  CpuClaim(CpuClaim&& other) noexcept : cpu_(other.cpu_), socket_(std::exchange(other.socket_, -1)) {}
  CpuClaim& operator=(CpuClaim&&) = delete;

  int cpu() const { return cpu_; }

 private:
  CpuClaim(int cpu, int socket) : cpu_(cpu), socket_(socket) {}

  int cpu_;
  int socket_;  // bound to a name; -1: moved from, or this machine has no such sockets
};

// Claims of physical cores, one for each of `threads`, or none at all: if so many are not free, or a quota limits the
// process's time, the kernel places threads better than we do.
std::vector<CpuClaim> ClaimCores(int threads);

}  // namespace causeway
