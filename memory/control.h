// The memory control thread: edits virtual memory and moves pages' bytes beside the engine, never for long, in the
// order asked.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace causeway::memory {

class MemoryControl {
 public:
  enum class Mode : uint8_t {
    kThread,   // a thread of its own
    kDeferred  // no thread: a job runs when the engine asks what is done. For tests: every interleaving is a choice.
  };

  // `on_done`: some job has been done; called by the control thread, must not wait.
  explicit MemoryControl(Mode mode = Mode::kThread, std::function<void()> on_done = {});
  ~MemoryControl();  // runs what is left
  MemoryControl(const MemoryControl&) = delete;
  MemoryControl& operator=(const MemoryControl&) = delete;

  // Engine thread, as all below. `work` runs on the control thread; after it, `done` in a Poll or Drain of ours.
  // Callers limit how much they ask for.
  void Post(std::function<void()> work, std::function<void()> done);
  // Calls `done` for the jobs that have been done (kDeferred: does one first). True: there were some.
  bool Poll();
  // Waits until at least one of the jobs asked for has been done, and polls. There must be one.
  void Wait();
  // Waits for all jobs.
  void Drain();
  bool idle() const { return asked_ == finished_; }
  void SetOnDone(std::function<void()> on_done);

 private:
  struct Job {
    std::function<void()> work;
    std::function<void()> done;
  };
  void Loop();
  void RunOne(std::unique_lock<std::mutex>& lock);

  const Mode mode_;
  uint64_t asked_ = 0;     // engine thread's own
  uint64_t finished_ = 0;  // likewise: `done` was called
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable progress_;
  std::function<void()> on_done_;
  std::deque<Job> jobs_;
  std::deque<Job> completed_;
  bool stopping_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace causeway::memory
