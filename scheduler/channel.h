// Between the engine thread and whoever holds a ticket.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "memory/prefix_pin.h"
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
// counts what waits; a channel asks for at most one cancellation for each of its sequences and one for all.
struct Inbox {
  std::mutex mutex;
  std::condition_variable wake;
  std::vector<Submission> submissions;
  std::vector<Cancellation> cancellations;
  std::vector<memory::PrefixPin> unpins;        // that nobody keeps any more
  std::vector<std::function<void()>> commands;  // to be run between two steps; each has a caller that waits
  int64_t waiting_requests = 0;                 // sequences submitted and not yet running
  int64_t waiting_tokens = 0;                   // prompt tokens not yet computed
  bool draining = false;                        // nothing new is taken
  bool ending = false;                          // what there is ends with kUnavailable
  bool stopping = false;                        // and the thread ends
  bool stopped = false;                         // it has ended
  bool memory_news = false;                     // the cache's other threads have done something

  // Caller holds mutex.
  bool HasNews() const {
    return stopping || memory_news || !submissions.empty() || !cancellations.empty() || !unpins.empty() ||
           !commands.empty();
  }
};

// The events of one request. The engine appends; the ticket's holder takes.
class RequestChannel {
 public:
  RequestChannel(RequestKey key, int sequences, std::weak_ptr<Inbox> inbox, Waker& waker)
      : key_(key), inbox_(std::move(inbox)), cancelled_(static_cast<size_t>(sequences)), waker_(&waker) {}

  // Engine thread: appends. The first of a step returns true: the reader wants waking after the last.
  bool Write(OutputEvent&& event);
  // Engine thread: wakes the reader, if it is still there.
  void Wake();

  // Reader: moves everything out, behind what `events` holds.
  void Read(std::vector<OutputEvent>& events);
  // Reader: asks the engine to end one sequence. Asking again, or for an index that there is not, is nothing.
  void CancelSequence(int index);
  // Reader: no wakes and no events after this returns; the engine ends what is left.
  void Close();

 private:
  void Tell(Cancellation cancellation);

  const RequestKey key_;
  const std::weak_ptr<Inbox> inbox_;
  std::vector<bool> cancelled_;  // owned by the reader
  bool wanted_ = false;          // owned by the engine thread: written to, and not yet woken
  std::mutex mutex_;
  Waker* waker_;                     // guarded by mutex_; null once the reader is gone
  std::vector<OutputEvent> events_;  // guarded by mutex_; at most a request's tokens
};

}  // namespace causeway::scheduler
