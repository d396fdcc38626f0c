#include "scheduler/channel.h"

#include <iterator>
#include <utility>

namespace causeway::scheduler {

void RequestChannel::Write(std::vector<OutputEvent>& events) {
  const std::lock_guard lock(mutex_);
  if (waker_ == nullptr) {
    return;  // nobody will read them
  }
  std::move(events.begin(), events.end(), std::back_inserter(events_));
  waker_->Wake();
}

void RequestChannel::Read(std::vector<OutputEvent>& events) {
  const std::lock_guard lock(mutex_);
  std::move(events_.begin(), events_.end(), std::back_inserter(events));
  events_.clear();
}

void RequestChannel::Cancel(int index) {
  if (const auto inbox = inbox_.lock()) {
    {
      const std::lock_guard lock(inbox->mutex);
      inbox->cancellations.push_back({key_, index});
    }
    inbox->wake.notify_one();
  }
}

void RequestChannel::Close() {
  const std::lock_guard lock(mutex_);
  waker_ = nullptr;
  events_.clear();
}

Ticket::Ticket(std::shared_ptr<RequestChannel> channel) : channel_(std::move(channel)) {}
Ticket::Ticket(Ticket&&) noexcept = default;
Ticket& Ticket::operator=(Ticket&& other) noexcept {
  std::swap(channel_, other.channel_);
  return *this;
}
Ticket::~Ticket() {
  if (channel_ != nullptr) {
    channel_->Close();
    channel_->Cancel(-1);
  }
}
void Ticket::Read(std::vector<OutputEvent>& events) { channel_->Read(events); }
void Ticket::CancelSequence(int index) { channel_->Cancel(index); }

}  // namespace causeway::scheduler
