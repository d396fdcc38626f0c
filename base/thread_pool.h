// The compute pool: fork-join on a fixed set of threads. Between calls it owns nothing.
//
// Owner: one thread (the engine, or a command such as `bench engine`) calls Run and ParallelFor; they
// return when all parts are done. How the parts fall on threads never changes a result: kernels fix
// their reduction order by absolute position.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

namespace causeway {

struct ThreadPoolOptions {
  int threads = 0;   // workers including the caller; 0: one per physical core of this process's CPU set
  bool pin = false;  // bind worker i to the i-th physical core
};

class ThreadPool {
 public:
  explicit ThreadPool(const ThreadPoolOptions& options);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(worker) once for each worker in [0, threads()); the caller is worker 0.
  template <typename Body>
  void Run(Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    RunErased(const_cast<void*>(static_cast<const void*>(&body)),
              [](void* context, int worker) { (*static_cast<Plain*>(context))(worker); });
  }

  // Calls body(task, worker) once for each task in [0, tasks); tasks are handed out in order.
  template <typename Body>
  void ParallelFor(int64_t tasks, Body&& body) {
    if (tasks <= 1 || threads() == 1) {
      for (int64_t task = 0; task < tasks; ++task) {
        body(task, 0);
      }
      return;
    }
    std::atomic<int64_t> next{0};
    Run([&](int worker) {
      for (int64_t task = next.fetch_add(1); task < tasks; task = next.fetch_add(1)) {
        body(task, worker);
      }
    });
  }

 private:
  using ErasedBody = void (*)(void* context, int worker);

  void RunErased(void* context, ErasedBody body);
  void WorkerLoop(int worker);

  // A job is published by bumping `epoch_`; workers count down `pending_`. Both sides spin briefly, then
  // sleep in the kernel, so an idle pool costs no CPU.
  alignas(64) std::atomic<uint32_t> epoch_{0};
  alignas(64) std::atomic<uint32_t> pending_{0};
  std::atomic<bool> stop_{false};
  void* context_ = nullptr;    // published by epoch_
  ErasedBody body_ = nullptr;  // published by epoch_
  std::vector<std::thread> workers_;
};

// CPUs of distinct physical cores that this process may run on, in ascending order.
std::vector<int> PhysicalCores();

}  // namespace causeway
