#include "base/cpu_affinity.h"

#include <cmath>
#include <thread>

#include <gtest/gtest.h>
#include <sched.h>

#include "base/thread_pool.h"
#include "tests/support/test_folder.h"

namespace causeway {
namespace {

// CPUs that the calling thread may run on.
std::vector<int> Affinity() {
  cpu_set_t set;
  CPU_ZERO(&set);
  EXPECT_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(static_cast<size_t>(cpu), &set)) {
      cpus.push_back(cpu);
    }
  }
  return cpus;
}

TEST(CpuAffinityTest, ListsAreReadAndWritten) {
  EXPECT_EQ(ParseCpuList("0-3,8").value(), std::vector<int>({0, 1, 2, 3, 8}));
  EXPECT_EQ(ParseCpuList("8,0-1").value(), std::vector<int>({8, 0, 1})) << "in the order given";
  EXPECT_EQ(FormatCpuList({0, 1, 2, 3, 8, 10, 11}), "0-3,8,10-11");
  for (const char* const bad : {"", "a", "1,", ",1", "3-1", "1-", "-1", "0-99999", "8192", "1,1", "0-3,2", "1 2"}) {
    const auto list = ParseCpuList(bad);
    ASSERT_FALSE(list.ok()) << bad;
    EXPECT_EQ(list.error().param, "cpu-affinity");
  }
}

TEST(CpuAffinityTest, OneOfEachPhysicalCore) {
  const TestFolder root;
  const auto cpu = [&](int number, int package, int core) {
    const std::string topology = "/sys/devices/system/cpu/cpu" + std::to_string(number) + "/topology/";
    root.Write(topology + "physical_package_id", std::to_string(package) + "\n");
    root.Write(topology + "core_id", std::to_string(core) + "\n");
  };
  cpu(0, 0, 0);
  cpu(1, 0, 1);
  cpu(2, 1, 0);
  cpu(3, 0, 0);  // the sibling of 0
  EXPECT_EQ(OnePerCore({0, 1, 2, 3}, root.path()), std::vector<int>({0, 1, 2}));
  EXPECT_EQ(OnePerCore({1, 3}, root.path()), std::vector<int>({1, 3}));
  EXPECT_EQ(OnePerCore({7, 9}, root.path()), std::vector<int>({7, 9})) << "no topology: all count";
}

TEST(CpuAffinityTest, TheTightestQuotaCounts) {
  const TestFolder root;
  EXPECT_TRUE(std::isinf(CpuQuota(root.path())));
  root.Write("/proc/self/cgroup", "0::/outer/inner\n");
  root.Write("/sys/fs/cgroup/outer/inner/cpu.max", "max 100000\n");
  EXPECT_TRUE(std::isinf(CpuQuota(root.path())));
  root.Write("/sys/fs/cgroup/outer/cpu.max", "250000 100000\n");
  EXPECT_EQ(CpuQuota(root.path()), 2.5);
  root.Write("/proc/self/cgroup", "4:cpu,cpuacct:/pod\n0::/\n");
  root.Write("/sys/fs/cgroup/cpu/pod/cpu.cfs_quota_us", "50000\n");
  root.Write("/sys/fs/cgroup/cpu/pod/cpu.cfs_period_us", "100000\n");
  root.Write("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  root.Write("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(CpuQuota(root.path()), 0.5);
}

TEST(CpuAffinityTest, ACoreHasOneClaim) {
  constexpr int kNoRealCpu = 8000;  // so that a server beside this test does not matter
  auto first = CpuClaim::Take(kNoRealCpu);
  ASSERT_TRUE(first);
  EXPECT_FALSE(CpuClaim::Take(kNoRealCpu));
  CpuClaim moved = std::move(*first);
  first.reset();
  EXPECT_FALSE(CpuClaim::Take(kNoRealCpu)) << "the claim moved, it did not end";
  { const CpuClaim last = std::move(moved); }
  EXPECT_TRUE(CpuClaim::Take(kNoRealCpu));
}

TEST(CpuAffinityTest, APinnedPoolBindsItsWorkersAndTheCallerThatAsks) {
  const std::vector<int> allowed = AllowedCpus();
  std::thread([&] {  // its own thread: the binding stays
    const std::vector<int> cpus(allowed.begin(), allowed.begin() + (allowed.size() > 1 ? 2 : 1));
    ThreadPool pool({.threads = static_cast<int>(cpus.size()), .pin = true, .cpus = cpus});
    EXPECT_EQ(Affinity(), allowed) << "making a pool binds no one else";
    pool.BindCaller();
    std::vector<std::vector<int>> seen(cpus.size());
    pool.Run([&](int worker) { seen[static_cast<size_t>(worker)] = Affinity(); });
    for (size_t i = 0; i < cpus.size(); ++i) {
      EXPECT_EQ(seen[i], std::vector<int>({cpus[i]}));
    }
    ThreadPool other({.threads = 2, .pin = false});
    other.Run([&](int worker) {
      if (worker == 1) {
        EXPECT_EQ(Affinity(), allowed) << "made by a bound thread, and yet free";
      }
    });
  })
      .join();
}

TEST(CpuAffinityTest, APoolTakesFreeCoresOrNone) {
  const ThreadPool pool({.threads = 1, .pin = true});
  const size_t cores = OnePerCore(AllowedCpus()).size();
  const ThreadPool too_many({.threads = static_cast<int>(cores) + (pool.cpus().empty() ? 1 : 0), .pin = true});
  EXPECT_TRUE(too_many.cpus().empty()) << too_many.Describe();
  EXPECT_NE(too_many.Describe().find("not pinned"), std::string::npos);
}

}  // namespace
}  // namespace causeway
