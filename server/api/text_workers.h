// Threads for templates and tokenizing, which are too slow for an I/O thread and no business of the
// engine's.
#pragma once

#include <functional>
#include <thread>
#include <vector>

#include "base/bounded_queue.h"

namespace causeway::server {

class TextWorkers {
 public:
  TextWorkers(int threads, size_t max_queued);
  ~TextWorkers();  // runs what is queued, then joins
  TextWorkers(const TextWorkers&) = delete;
  TextWorkers& operator=(const TextWorkers&) = delete;

  // False when the queue is full. Jobs must not throw.
  [[nodiscard]] bool Post(std::function<void()> job) { return queue_.TryPush(std::move(job)); }

 private:
  BoundedQueue<std::function<void()>> queue_;
  std::vector<std::thread> threads_;
};

}  // namespace causeway::server
