#include "memory/control.h"

#include <utility>

#include "base/check.h"

namespace causeway::memory {

MemoryControl::MemoryControl(Mode mode, std::function<void()> on_done) : mode_(mode), on_done_(std::move(on_done)) {
  if (mode == Mode::kThread) {
    thread_ = std::thread([this] { Loop(); });
  }
}

MemoryControl::~MemoryControl() {
  Drain();
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) {
    thread_.join();
  }
}

void MemoryControl::SetOnDone(std::function<void()> on_done) {
  const std::lock_guard lock(mutex_);
  on_done_ = std::move(on_done);
}

void MemoryControl::Post(std::function<void()> work, std::function<void()> done) {
  ++asked_;
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back({std::move(work), std::move(done)});
  }
  wake_.notify_one();
}

bool MemoryControl::Poll() {
  if (idle()) {
    return false;
  }
  std::deque<Job> completed;
  {
    std::unique_lock lock(mutex_);
    if (mode_ == Mode::kDeferred && !jobs_.empty()) {
      RunOne(lock);
    }
    completed.swap(completed_);
  }
  for (Job& job : completed) {
    ++finished_;
    job.done();  // may post
  }
  return !completed.empty();
}

void MemoryControl::Wait() {
  CHECK(!idle());
  if (mode_ == Mode::kThread) {
    std::unique_lock lock(mutex_);
    progress_.wait(lock, [this] { return !completed_.empty(); });
  }
  Poll();
}

void MemoryControl::Drain() {
  while (!idle()) {
    Wait();
  }
}

void MemoryControl::RunOne(std::unique_lock<std::mutex>& lock) {
  Job job = std::move(jobs_.front());
  jobs_.pop_front();
  lock.unlock();
  job.work();
  lock.lock();
  completed_.push_back(std::move(job));
}

void MemoryControl::Loop() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
    if (jobs_.empty()) {
      return;
    }
    RunOne(lock);
    progress_.notify_all();
    if (on_done_) {
      on_done_();
    }
  }
}

}  // namespace causeway::memory
