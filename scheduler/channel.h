// Between the engine thread and whoever holds a ticket.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "scheduler/engine.h"
#include "scheduler/request.h"
#include "scheduler/sequence.h"

namespace causeway::scheduler {

struct Submission {
  RequestKey key = 0;
  GenerateRequest request;
  std::shared_ptr<RequestChannel> channel;
};
struct Cancellation {
  RequestKey key = 0;
  int index = -1;
};

// What other threads ask of the engine. Outlives the engine for the sake of late tickets. Bounded: Submit
// counts what waits; cancellations are at most one per ticket and one per sequence.
struct Inbox {
  std::mutex mutex;
  std::condition_variable wake;
  std::vector<Submission> submissions;
  std::vector<Cancellation> cancellations;
  int64_t waiting_requests = 0;  // sequences submitted and not yet running
  int64_t waiting_tokens = 0;    // their prompt tokens
  bool draining = false;
  bool stopping = false;
};

// The events of one request. The engine appends; the ticket's holder takes.
class RequestChannel {
 public:
  RequestChannel(RequestKey key, std::weak_ptr<Inbox> inbox, Waker& waker)
      : key_(key), inbox_(std::move(inbox)), waker_(&waker) {}

  // Engine thread: appends and wakes the reader.
  void Write(std::vector<OutputEvent>& events);
  // Reader: moves everything out.
  void Read(std::vector<OutputEvent>& events);
  // Reader: asks the engine to end one sequence, or all (-1).
  void Cancel(int index);
  // Reader: no more wakes after this returns.
  void Close();

 private:
  const RequestKey key_;
  const std::weak_ptr<Inbox> inbox_;
  std::mutex mutex_;
  Waker* waker_;                     // guarded by mutex_; null once the reader is gone
  std::vector<OutputEvent> events_;  // guarded by mutex_
};

}  // namespace causeway::scheduler
