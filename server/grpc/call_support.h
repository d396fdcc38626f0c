// What the calls of all services share: statuses, keys, deadlines, wakes. Internal to server/grpc.
#pragma once

#include <functional>
#include <thread>

#include <grpcpp/grpcpp.h>

#include "base/bounded_queue.h"
#include "base/clock.h"
#include "base/result.h"
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

}  // namespace causeway::server
