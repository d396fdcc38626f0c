// A queue with a limit between threads. Push never waits: a full queue is the caller's news to pass on.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/clock.h"

namespace causeway {

// Many producers, many consumers. All members are safe from any thread.
template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(size_t capacity) : capacity_(capacity) { CHECK(capacity > 0); }

  // False when the queue is full or closed; `item` is then unchanged.
  [[nodiscard]] bool TryPush(T&& item) {
    {
      const std::lock_guard lock(mutex_);
      if (closed_ || items_.size() >= capacity_) {
        return false;
      }
      items_.push_back(std::move(item));
    }
    ready_.notify_one();
    return true;
  }

  // Waits for an item. Empty once the queue is closed and drained.
  std::optional<T> Pop() {
    std::unique_lock lock(mutex_);
    ready_.wait(lock, [this] { return closed_ || !items_.empty(); });
    return TakeFront();
  }

  // Takes everything that is there now, without waiting.
  void DrainInto(std::vector<T>& out) {
    const std::lock_guard lock(mutex_);
    for (T& item : items_) {
      out.push_back(std::move(item));
    }
    items_.clear();
  }

  // Waits until there is an item, the queue is closed, Notify() was called, or `deadline` passed.
  void WaitUntil(Instant deadline) {
    std::unique_lock lock(mutex_);
    const auto awake = [this] { return closed_ || notified_ || !items_.empty(); };
    if (deadline == kNever) {
      ready_.wait(lock, awake);
    } else {
      ready_.wait_until(lock, deadline, awake);
    }
    notified_ = false;
  }

  // Wakes WaitUntil without an item.
  void Notify() {
    {
      const std::lock_guard lock(mutex_);
      notified_ = true;
    }
    ready_.notify_all();
  }

  // No more pushes; consumers drain what is left.
  void Close() {
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
    }
    ready_.notify_all();
  }

  size_t Size() const {
    const std::lock_guard lock(mutex_);
    return items_.size();
  }

 private:
  std::optional<T> TakeFront() {
    if (items_.empty()) {
      return std::nullopt;
    }
    std::optional<T> item(std::move(items_.front()));
    items_.pop_front();
    return item;
  }

  const size_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<T> items_;    // guarded by mutex_
  bool closed_ = false;    // guarded by mutex_
  bool notified_ = false;  // guarded by mutex_
};

}  // namespace causeway
