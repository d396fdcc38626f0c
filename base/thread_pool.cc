#include "base/thread_pool.h"

#include <algorithm>
#include <fstream>
#include <set>
#include <string>
#include <utility>

#include <pthread.h>
#include <sched.h>

#include "base/check.h"

namespace causeway {
namespace {

// Long enough to bridge the gap between two ops of a step, short enough to leave the CPU to the I/O
// threads when the engine is idle (about 20 us).
constexpr int kSpinIterations = 4000;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Waits until `value` differs from `old`.
void SpinThenWait(const std::atomic<uint32_t>& value, uint32_t old) {
  for (int i = 0; i < kSpinIterations; ++i) {
    if (value.load(std::memory_order_acquire) != old) {
      return;
    }
    Pause();
  }
  while (value.load(std::memory_order_acquire) == old) {
    value.wait(old, std::memory_order_acquire);
  }
}

void PinTo(pthread_t thread, int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<size_t>(cpu), &set);
  pthread_setaffinity_np(thread, sizeof(set), &set);  // best effort: a container may forbid it
}

std::string ReadLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

}  // namespace

std::vector<int> PhysicalCores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) {
    return {0};
  }
  std::vector<int> cores;
  std::set<std::pair<std::string, std::string>> seen;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(static_cast<size_t>(cpu), &allowed)) {
      continue;
    }
    const std::string topology = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    const std::string package = ReadLine(topology + "physical_package_id");
    const std::string core = ReadLine(topology + "core_id");
    if (core.empty() || seen.emplace(package, core).second) {
      cores.push_back(cpu);
    }
  }
  return cores;
}

ThreadPool::ThreadPool(const ThreadPoolOptions& options) {
  CHECK(options.threads >= 0);
  const std::vector<int> cores = PhysicalCores();
  const int threads = options.threads > 0 ? options.threads : static_cast<int>(cores.size());
  const bool pin = options.pin && static_cast<size_t>(threads) <= cores.size();
  if (pin) {
    PinTo(pthread_self(), cores[0]);
  }
  for (int worker = 1; worker < threads; ++worker) {
    workers_.emplace_back([this, worker] { WorkerLoop(worker); });
    if (pin) {
      PinTo(workers_.back().native_handle(), cores[static_cast<size_t>(worker)]);
    }
  }
}

ThreadPool::~ThreadPool() {
  stop_.store(true, std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  for (std::thread& worker : workers_) {
    worker.join();
  }
}

void ThreadPool::RunErased(void* context, ErasedBody body) {
  if (workers_.empty()) {
    body(context, 0);
    return;
  }
  context_ = context;
  body_ = body;
  pending_.store(static_cast<uint32_t>(workers_.size()), std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  body(context, 0);
  for (uint32_t left = pending_.load(std::memory_order_acquire); left != 0;
       left = pending_.load(std::memory_order_acquire)) {
    SpinThenWait(pending_, left);
  }
}

void ThreadPool::WorkerLoop(int worker) {
  uint32_t seen = 0;
  while (true) {
    SpinThenWait(epoch_, seen);
    seen = epoch_.load(std::memory_order_acquire);
    if (stop_.load(std::memory_order_relaxed)) {
      return;
    }
    body_(context_, worker);
    if (pending_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      pending_.notify_one();
    }
  }
}

}  // namespace causeway
