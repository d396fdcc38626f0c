#include "base/thread_pool.h"

#include <chrono>

#include <pthread.h>

#include "base/check.h"
#include "fmt/format.h"

namespace causeway {
namespace {

// Long enough to bridge what one thread does alone between two ops of a step, short enough to leave the CPU to others
// when the engine is idle.
constexpr std::chrono::microseconds kSpinTime{50};
constexpr int kPausesPerLook = 32;  // at the clock

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb");  // `yield` does nothing on most cores; this waits some 10 ns
#endif
}

// Waits until `value` differs from `old`.
void SpinThenWait(const std::atomic<uint32_t>& value, uint32_t old, bool spin) {
  if (spin) {
    const auto end = std::chrono::steady_clock::now() + kSpinTime;
    do {
      for (int i = 0; i < kPausesPerLook; ++i) {
        if (value.load(std::memory_order_acquire) != old) {
          return;
        }
        Pause();
      }
    } while (std::chrono::steady_clock::now() < end);
  }
  while (value.load(std::memory_order_acquire) == old) {
    value.wait(old, std::memory_order_acquire);
  }
}

}  // namespace

ThreadPool::ThreadPool(const ThreadPoolOptions& options) {
  CHECK(options.threads >= 0);
  const int threads = options.threads > 0 ? options.threads : DefaultThreads();
  spin_ = static_cast<size_t>(threads) <= AllowedCpus().size();
  if (options.pin && !options.cpus.empty()) {
    CHECK(options.cpus.size() == static_cast<size_t>(threads));
    cpus_ = options.cpus;
  } else if (options.pin) {
    claims_ = ClaimCores(threads);
    for (const CpuClaim& claim : claims_) {
      cpus_.push_back(claim.cpu());
    }
  }
  fetches_.resize(static_cast<size_t>(threads));
  for (int worker = 1; worker < threads; ++worker) {
    workers_.emplace_back([this, worker] { WorkerLoop(worker); });
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

std::string ThreadPool::Describe() const {
  return fmt::format("{} thread{}{}", threads(), threads() == 1 ? "" : "s",
                     cpus_.empty() ? ", not pinned" : " on CPUs " + FormatCpuList(cpus_));
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
    SpinThenWait(pending_, left, spin_);
  }
}

void ThreadPool::FetchUntil(Fetch& fetch, uint32_t seen) {
  constexpr int kLinesPerLook = 8;
  constexpr int64_t kLine = 64;
  while (fetch.next < fetch.end && epoch_.load(std::memory_order_relaxed) == seen) {
    for (int i = 0; i < kLinesPerLook; ++i, fetch.next += kLine) {
      __builtin_prefetch(fetch.next, 0, 2);
    }
  }
}

void ThreadPool::WorkerLoop(int worker) {
  // Unpinned too: who made the pool may be bound, and a new thread inherits that. Where a container forbids it, the
  // kernel places the thread.
  BindThread(pthread_self(), cpus_.empty() ? AllowedCpus() : std::vector{cpus_[static_cast<size_t>(worker)]});
  uint32_t seen = 0;
  while (true) {
    FetchUntil(fetches_[static_cast<size_t>(worker)], seen);
    SpinThenWait(epoch_, seen, spin_);
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
