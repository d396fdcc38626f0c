// Tasks over a pool in runs: for tasks that each go on in memory where the one before stopped.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/thread_pool.h"

namespace causeway {

inline constexpr int kMostRuns = 64;  // more workers share them
inline int RunsOf(int threads) { return std::min(threads, kMostRuns); }
inline int64_t BeginOfRun(int64_t tasks, int runs, int run) { return tasks * run / runs; }

// Whether a task is the first and the last one of its run.
struct PlaceInRun {
  bool first;
  bool last;

  PlaceInRun(int64_t task, int64_t tasks, int threads) {
    const int runs = RunsOf(threads);
    const int run = static_cast<int>(((task + 1) * runs - 1) / tasks);  // the last one that begins no later
    first = task == BeginOfRun(tasks, runs, run);
    last = task + 1 == BeginOfRun(tasks, runs, run + 1);
  }
};

// Calls body(task, worker) once for each task in [0, tasks). Each worker takes neighbouring tasks in ascending order
// from a run of its own, and when that is done what is left of the others': a prefetcher that looks past the end of a
// task is right, and a worker that is slowed down holds up no one.
template <typename Body>
void ParallelRuns(ThreadPool& pool, int64_t tasks, Body&& body) {
  struct alignas(64) Run {
    std::atomic<int64_t> next;
    int64_t end;
  };
  const int count = RunsOf(pool.threads());
  if (tasks <= 1 || count == 1) {
    return pool.ParallelFor(tasks, body);
  }
  std::array<Run, kMostRuns> runs;
  for (int i = 0; i < count; ++i) {
    runs[static_cast<size_t>(i)].next.store(BeginOfRun(tasks, count, i), std::memory_order_relaxed);
    runs[static_cast<size_t>(i)].end = BeginOfRun(tasks, count, i + 1);
  }
  pool.Run([&](int worker) {
    for (int i = 0; i < count; ++i) {
      Run& run = runs[static_cast<size_t>((worker + i) % count)];
      for (int64_t task = run.next.fetch_add(1); task < run.end; task = run.next.fetch_add(1)) {
        body(task, worker);
      }
    }
  });
}

}  // namespace causeway
