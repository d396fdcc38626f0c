// What the calls of all services share: statuses, keys, deadlines, wakes. Internal to server/grpc.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include <grpcpp/grpcpp.h>

#include "base/bounded_queue.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/result.h"
#include "scheduler/engine.h"
#include "server/api/app.h"

namespace causeway::server {

// The status of a failed call, with the field at fault in the trailing metadata.
grpc::Status Refuse(grpc::CallbackServerContext& context, const Error& error);

// Whom the call's key belongs to. kUnauthenticated without a good one.
Result<memory::TenantId> Authorize(const App& app, const grpc::CallbackServerContext& context);

// The call's own deadline on our clock.
Instant DeadlineOf(const grpc::CallbackServerContext& context);

// An id for a call whose client gave none.
std::string NewCallId();

// Runs the wakes of all calls: the engine must not wait for gRPC. One entry a call at most is queued.
class WakeThread {
 public:
  WakeThread();
  ~WakeThread();
  WakeThread(const WakeThread&) = delete;
  WakeThread& operator=(const WakeThread&) = delete;
  [[nodiscard]] bool Post(std::function<void()> job) { return queue_.TryPush(std::move(job)); }

 private:
  BoundedQueue<std::function<void()>> queue_{1 << 20};
  std::thread thread_;
};

// A unary call whose answer comes later: gRPC's threads and wakes meet under one mutex, and the call owns itself until
// OnDone and the last wake have let go. `Work` is what it waits for: destroyed, it wakes no more.
template <typename Work>
class LateReactor : public grpc::ServerUnaryReactor, public scheduler::Waker {
 public:
  explicit LateReactor(WakeThread& wakes) : wakes_(wakes) {}

  void Wake() noexcept final {
    if (wake_pending_.exchange(true)) {
      return;
    }
    holders_.fetch_add(1);
    const bool posted = wakes_.Post([this] {
      wake_pending_ = false;
      Advance();
      Release();
    });
    CHECK(posted);
  }
  void OnCancel() final {
    const std::lock_guard lock(mutex_);
    FinishLocked(grpc::Status(grpc::StatusCode::CANCELLED, "cancelled"));
  }
  void OnDone() final { Release(); }

 protected:
  // The status of the call once the work has ended. Called with the mutex held, until it says one.
  virtual std::optional<grpc::Status> Take(Work& work) = 0;

  // Begins to wait, or ends the call at once. Of the starting thread, once.
  void Await(const std::function<Result<std::unique_ptr<Work>>()>& start, grpc::CallbackServerContext& context) {
    const std::lock_guard lock(mutex_);
    auto work = start();
    if (!work.ok()) {
      return FinishLocked(Refuse(context, work.error()));
    }
    work_ = std::move(work).value();
  }

 private:
  void Advance() {
    const std::lock_guard lock(mutex_);
    if (finished_ || work_ == nullptr) {
      return;
    }
    if (const auto status = Take(*work_)) {
      FinishLocked(*status);
    }
  }

  // No wake may come after OnDone, so the work ends first.
  void FinishLocked(const grpc::Status& status) {
    if (!std::exchange(finished_, true)) {
      work_.reset();
      Finish(status);
    }
  }

  void Release() {
    if (holders_.fetch_sub(1) == 1) {
      const std::unique_ptr<LateReactor> ended(this);  // who started it let go of it
    }
  }

  WakeThread& wakes_;
  std::atomic<bool> wake_pending_{false};
  std::atomic<int> holders_{1};  // OnDone and a pending wake

  std::mutex mutex_;  // guards what follows
  std::unique_ptr<Work> work_;
  bool finished_ = false;
};

}  // namespace causeway::server
