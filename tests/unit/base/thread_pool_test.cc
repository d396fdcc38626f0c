#include "base/thread_pool.h"

#include <atomic>
#include <chrono>
#include <numeric>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace causeway {
namespace {

TEST(ThreadPoolTest, RunsEveryWorkerOnce) {
  ThreadPool pool({.threads = 3, .pin = false});
  for (int round = 0; round < 1000; ++round) {
    std::vector<int> calls(3, 0);
    pool.Run([&](int worker) { ++calls[static_cast<size_t>(worker)]; });
    ASSERT_EQ(calls, std::vector<int>({1, 1, 1}));
  }
}

TEST(ThreadPoolTest, ParallelForCoversEveryTaskOnce) {
  ThreadPool pool({.threads = 2, .pin = false});
  std::vector<std::atomic<int>> hits(1000);
  pool.ParallelFor(1000, [&](int64_t task, int) { ++hits[static_cast<size_t>(task)]; });
  for (const auto& hit : hits) {
    ASSERT_EQ(hit.load(), 1);
  }
  pool.ParallelFor(0, [&](int64_t, int) { FAIL(); });
}

// Workers that have gone to sleep, and more of them than there are CPUs.
TEST(ThreadPoolTest, WakesSleepersAndOutnumbersTheCpus) {
  ThreadPool pool({.threads = static_cast<int>(AllowedCpus().size()) + 3, .pin = false});
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> calls{0};
    pool.Run([&](int) { ++calls; });
    ASSERT_EQ(calls.load(), pool.threads());
    std::this_thread::sleep_for(std::chrono::microseconds(round * 50));
  }
}

TEST(ThreadPoolTest, ByItselfItHasAThreadForEachCoreAtMost) {
  const ThreadPool pool({.threads = 0, .pin = false});
  EXPECT_GE(pool.threads(), 1);
  EXPECT_LE(pool.threads(), static_cast<int>(OnePerCore(AllowedCpus()).size()));
}

}  // namespace
}  // namespace causeway
