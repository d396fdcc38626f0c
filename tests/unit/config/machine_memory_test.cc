#include "server/config/machine_memory.h"

#include <gtest/gtest.h>

#include "tests/support/test_folder.h"

namespace causeway::server {
namespace {

class Root : public TestFolder {
 public:
  Root() { Write("/proc/meminfo", "MemTotal:       8000000 kB\nMemAvailable:    4000000 kB\n"); }
  MachineMemory Read() const { return ReadMachineMemory(path()).value(); }
};

TEST(MachineMemoryTest, TheMachineAlone) {
  const Root root;
  EXPECT_EQ(root.Read().available_bytes, 4000000LL * 1024);
  EXPECT_EQ(root.Read().limited_by, "the machine");
}

TEST(MachineMemoryTest, TheTightestGroupCounts) {
  const Root root;
  root.Write("/proc/self/cgroup", "0::/outer/inner\n");
  root.Write("/sys/fs/cgroup/outer/inner/memory.max", "max\n");
  root.Write("/sys/fs/cgroup/outer/inner/memory.current", "100\n");
  root.Write("/sys/fs/cgroup/outer/memory.max", "1000000\n");
  root.Write("/sys/fs/cgroup/outer/memory.current", "700000\n");
  root.Write("/sys/fs/cgroup/outer/memory.stat", "anon 5\ninactive_file 200000\n");
  EXPECT_EQ(root.Read().available_bytes, 500000);
  EXPECT_EQ(root.Read().limited_by, "the control group /outer");
}

TEST(MachineMemoryTest, VersionOneAndAContainersRoot) {
  const Root root;
  root.Write("/proc/self/cgroup", "7:cpu,cpuacct:/x\n5:memory:/\n");
  root.Write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "2000\n");
  root.Write("/sys/fs/cgroup/memory/memory.usage_in_bytes", "3000\n");
  EXPECT_EQ(root.Read().available_bytes, 0) << "never negative";
}

TEST(MachineMemoryTest, ReadsThisMachine) {
  const Result<MachineMemory> memory = ReadMachineMemory();
  ASSERT_TRUE(memory.ok());
  EXPECT_GT(memory->available_bytes, 0);
}

TEST(MachineMemoryTest, PeakOfTheProcess) {
  const Root root;
  EXPECT_EQ(PeakMemoryBytes(root.path()), 0);
  root.Write("/proc/self/status", "Name:\tx\nVmPeak:\t  900 kB\nVmHWM:\t    123 kB\n");
  EXPECT_EQ(PeakMemoryBytes(root.path()), 123 * 1024);
}

}  // namespace
}  // namespace causeway::server
