#include "base/thread_pool.h"
#include "base/parallel_runs.h"

#include <atomic>
#include <chrono>
#include <numeric>
#include <set>
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

// Each worker from a run of its own in ascending order, then what others have left.
TEST(ParallelRunsTest, CoverEveryTaskOnceAndGoOnWhereTheyStopped) {
  for (const int threads : {1, 2, 3, 70}) {
    ThreadPool pool({.threads = threads, .pin = false});
    for (const int64_t tasks : {0, 1, 2, 5, 64, 1000}) {
      std::vector<std::atomic<int>> counts(static_cast<size_t>(tasks));
      std::vector<std::vector<int64_t>> taken(static_cast<size_t>(threads));
      ParallelRuns(pool, tasks, [&](int64_t task, int worker) {
        ++counts[static_cast<size_t>(task)];
        taken[static_cast<size_t>(worker)].push_back(task);
      });
      for (const auto& count : counts) {
        EXPECT_EQ(count, 1);
      }
      for (const auto& of_one : taken) {  // a run of one's own, and at most one of each other worker's
        int64_t turns = 0;
        for (size_t i = 1; i < of_one.size(); ++i) {
          turns += of_one[i] < of_one[i - 1] ? 1 : 0;
        }
        EXPECT_LT(turns, threads);
      }
    }
  }
}

// Of every run that is not empty one task is the first and one the last, and they are where a worker begins and ends.
TEST(ParallelRunsTest, TasksKnowTheirPlaceInARun) {
  for (const int threads : {1, 2, 3, 70}) {
    for (const int64_t tasks : {1, 2, 5, 64, 1000}) {
      const int runs = RunsOf(threads);
      std::set<int64_t> begins, ends;
      for (int run = 0; run < runs; ++run) {
        if (BeginOfRun(tasks, runs, run) < BeginOfRun(tasks, runs, run + 1)) {
          begins.insert(BeginOfRun(tasks, runs, run));
          ends.insert(BeginOfRun(tasks, runs, run + 1) - 1);
        }
      }
      for (int64_t task = 0; task < tasks; ++task) {
        const PlaceInRun place(task, tasks, threads);
        EXPECT_EQ(place.first, begins.contains(task)) << task << " of " << tasks << ", " << threads << " threads";
        EXPECT_EQ(place.last, ends.contains(task)) << task << " of " << tasks << ", " << threads << " threads";
      }
    }
  }
}

// A hint, however long and wherever it points, holds up no call and stops none from running on all workers.
TEST(ThreadPoolTest, FetchesAreHints) {
  ThreadPool pool({.threads = 3, .pin = false});
  const std::vector<std::byte> some(1 << 16);
  const auto* const nowhere = reinterpret_cast<const std::byte*>(uintptr_t{4096});
  for (int round = 0; round < 1000; ++round) {
    std::vector<int> calls(3, 0);
    pool.Run([&](int worker) {
      ++calls[static_cast<size_t>(worker)];
      round % 2 == 0 ? pool.FetchWhileWaiting(worker, some.data(), static_cast<int64_t>(some.size()))
                     : pool.FetchWhileWaiting(worker, nowhere, int64_t{1} << 44);
    });
    ASSERT_EQ(calls, std::vector<int>({1, 1, 1})) << round;
  }
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
