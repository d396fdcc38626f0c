// One thread for work that waits: for files, and for the engine's step boundaries.
#pragma once

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "base/bounded_queue.h"
#include "base/clock.h"

namespace causeway::server {

class ControlWorker {
 public:
  using Job = std::function<void()>;
  // Does what has come due by `now`, and says when to be called next; kNever: when there is news.
  using Timer = std::function<Instant(Instant now)>;

  ControlWorker(size_t max_queued, Timer timer);
  ~ControlWorker();  // runs what is queued, then joins
  ControlWorker(const ControlWorker&) = delete;
  ControlWorker& operator=(const ControlWorker&) = delete;

  // False when the queue is full. Jobs must not throw.
  [[nodiscard]] bool Post(Job job) { return queue_.TryPush(std::move(job)); }
  // Has the timer called soon. Any thread.
  void Notify() { queue_.Notify(); }

 private:
  void Loop();

  const Timer timer_;
  BoundedQueue<Job> queue_;
  std::atomic<bool> closing_{false};
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace causeway::server
