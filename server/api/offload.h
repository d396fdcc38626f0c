// Work that is too slow for an I/O thread, handed to a text worker (parsing and tokenizing) or to the control worker
// (what waits).
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "base/result.h"
#include "scheduler/engine.h"

namespace causeway::server {

// Owned by one thread; the waker is called from a worker. Destroying it drops the result.
template <typename T>
class Offloaded {
 public:
  // `workers` has bool Post(std::function<void()>). `work` may outlive this object, so it must own what it uses.
  // `waker` must outlive this object.
  template <typename Workers>
  Offloaded(Workers& workers, scheduler::Waker& waker, std::function<Result<T>()> work)
      : state_(std::make_shared<State>()) {
    state_->waker = &waker;
    const bool queued = workers.Post([state = state_, work = std::move(work)] {
      if (state->Wanted()) {
        state->Finish(work());
      }
    });
    if (!queued) {
      state_->Finish(MakeError(ErrorCode::kResourceExhausted, "too many requests wait for a worker"));
    }
  }
  ~Offloaded() {
    const std::lock_guard lock(state_->mutex);
    state_->waker = nullptr;
  }
  Offloaded(const Offloaded&) = delete;
  Offloaded& operator=(const Offloaded&) = delete;

  // The result, once, when it is there.
  std::optional<Result<T>> Take() {
    const std::lock_guard lock(state_->mutex);
    return std::exchange(state_->result, std::nullopt);
  }

 private:
  struct State {
    bool Wanted() {
      const std::lock_guard lock(mutex);
      return waker != nullptr;
    }
    void Finish(Result<T> value) {
      const std::lock_guard lock(mutex);
      result = std::move(value);
      if (waker != nullptr) {
        waker->Wake();
      }
    }

    std::mutex mutex;
    scheduler::Waker* waker = nullptr;  // guarded by mutex; null once nobody waits
    std::optional<Result<T>> result;    // guarded by mutex
  };

  const std::shared_ptr<State> state_;
};

}  // namespace causeway::server
