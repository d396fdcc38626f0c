// The compute pool: fork-join on a fixed set of threads. Between calls it owns nothing.
//
// Owner: one thread (the engine, or a command such as `bench engine`) calls Run and ParallelFor; they
// return when all parts are done. How the parts fall on threads never changes a result: kernels fix
// their reduction order by absolute position.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "base/cpu_affinity.h"

namespace causeway {

struct ThreadPoolOptions {
  int threads = 0;             // workers including the caller; 0: DefaultThreads()
  bool pin = false;            // bind every worker to a CPU of its own
  std::vector<int> cpus = {};  // which: one for each worker. Empty: physical cores that no other pool has claimed
};

class ThreadPool {
 public:
  explicit ThreadPool(const ThreadPoolOptions& options);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }
  // What worker i is bound to; empty if the kernel places them.
  const std::vector<int>& cpus() const { return cpus_; }
  // "2 threads on CPUs 0-1", for the log.
  std::string Describe() const;

  // Binds the calling thread, worker 0 from now on, to its CPU; nothing if the pool is not pinned. Threads that it
  // makes later inherit that. Not done by the constructor: who makes a pool often makes the threads that serve beside
  // it.
  void BindCaller() {
    if (!cpus_.empty() && bound_caller_ != std::this_thread::get_id()) {
      bound_caller_ = std::this_thread::get_id();
      BindThread(pthread_self(), {cpus_[0]});
    }
  }

  // Called by a body: when it is done, its worker asks memory for these bytes while it waits for the next call, so that
  // they are in its cache when that needs them. A hint: worker 0, the caller, does not wait; and the bytes need not
  // exist.
  void FetchWhileWaiting(int worker, const std::byte* data, int64_t bytes) {
    fetches_[static_cast<size_t>(worker)] = {data, data + bytes};
  }

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
  struct alignas(64) Fetch {
    const std::byte* next = nullptr;
    const std::byte* end = nullptr;
  };

  void RunErased(void* context, ErasedBody body);
  void WorkerLoop(int worker);
  // Asks for what is left of it, as long as no call but the last one it has `seen` was made.
  void FetchUntil(Fetch& fetch, uint32_t seen);

  // A job is published by bumping `epoch_`; workers count down `pending_`. Both sides spin briefly, then
  // sleep in the kernel, so an idle pool costs no CPU. What a worker reads of a job is one cache line.
  alignas(64) std::atomic<uint32_t> epoch_{0};
  void* context_ = nullptr;    // published by epoch_
  ErasedBody body_ = nullptr;  // published by epoch_
  alignas(64) std::atomic<uint32_t> pending_{0};
  alignas(64) std::atomic<bool> stop_{false};

  // Constant after construction.
  bool spin_ = true;  // not if threads share CPUs: who spins keeps another from its work
  std::vector<CpuClaim> claims_;
  std::vector<int> cpus_;
  std::vector<std::thread> workers_;

  std::vector<Fetch> fetches_;    // each one owned by its worker
  std::thread::id bound_caller_;  // owned by the calling thread
};

}  // namespace causeway
