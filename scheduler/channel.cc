#include "scheduler/channel.h"

#include <iterator>
#include <utility>

#include "scheduler/pinned.h"

namespace causeway::scheduler {

bool RequestChannel::Write(OutputEvent&& event) {
  const std::lock_guard lock(mutex_);
  if (waker_ == nullptr) {
    return false;  // nobody will read it
  }
  events_.push_back(std::move(event));
  return !std::exchange(wanted_, true);
}

void RequestChannel::Wake() {
  const std::lock_guard lock(mutex_);
  wanted_ = false;
  if (waker_ != nullptr) {
    waker_->Wake();
  }
}

void RequestChannel::Read(std::vector<OutputEvent>& events) {
  const std::lock_guard lock(mutex_);
  if (events.empty()) {
    events.swap(events_);  // both keep their capacity
    return;
  }
  std::move(events_.begin(), events_.end(), std::back_inserter(events));
  events_.clear();
}

void RequestChannel::CancelSequence(int index) {
  const auto at = static_cast<size_t>(index);
  if (index >= 0 && at < cancelled_.size() && !cancelled_[at]) {
    cancelled_[at] = true;
    Tell({key_, index});
  }
}

void RequestChannel::Close() {
  {
    const std::lock_guard lock(mutex_);
    waker_ = nullptr;
    events_.clear();
  }
  Tell({key_, -1});
}

// Nothing is left to tell where the engine is gone.
void RequestChannel::Tell(Cancellation cancellation) {
  if (const auto inbox = inbox_.lock()) {
    {
      const std::lock_guard lock(inbox->mutex);
      inbox->cancellations.push_back(cancellation);
    }
    inbox->wake.notify_one();
  }
}

PinnedPrefix::~PinnedPrefix() {
  const auto inbox = inbox_.lock();
  if (inbox == nullptr) {
    return;  // the engine's thread is gone: the pin goes here
  }
  const std::lock_guard lock(inbox->mutex);
  if (!inbox->stopped) {
    inbox->unpins.push_back(std::move(pin_));
    inbox->wake.notify_one();
  }
}

Ticket::Ticket(std::shared_ptr<RequestChannel> channel) : channel_(std::move(channel)) {}
Ticket::Ticket(Ticket&&) noexcept = default;
Ticket& Ticket::operator=(Ticket&& other) noexcept {
  if (this != &other) {
    Release();
    channel_ = std::move(other.channel_);
  }
  return *this;
}
Ticket::~Ticket() { Release(); }
void Ticket::Release() {
  if (const auto channel = std::exchange(channel_, nullptr)) {
    channel->Close();
  }
}
void Ticket::Read(std::vector<OutputEvent>& events) { channel_->Read(events); }
void Ticket::CancelSequence(int index) { channel_->CancelSequence(index); }

}  // namespace causeway::scheduler
