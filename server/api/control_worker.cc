#include "server/api/control_worker.h"

namespace causeway::server {

ControlWorker::ControlWorker(size_t max_queued, Timer timer)
    : timer_(std::move(timer)), queue_(max_queued), thread_([this] { Loop(); }) {}

ControlWorker::~ControlWorker() {
  closing_ = true;
  queue_.Close();
  thread_.join();
}

void ControlWorker::Loop() {
  std::vector<Job> jobs;
  while (true) {
    queue_.WaitUntil(timer_(Clock::now()));
    const bool last = closing_;  // looked at before the queue: what came first is run
    queue_.DrainInto(jobs);
    for (const Job& job : jobs) {
      job();
    }
    jobs.clear();
    if (last) {
      return;
    }
  }
}

}  // namespace causeway::server
