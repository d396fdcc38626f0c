// An engine on a mocked cache, with a fake executor that a test can hold.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "scheduler/engine.h"
#include "tests/support/scheduler_fixture.h"

namespace causeway::scheduler {

class CountingWaker final : public Waker {
 public:
  void Wake() noexcept override {
    {
      const std::lock_guard lock(mutex_);
      ++wakes_;
    }
    woken_.notify_all();
  }
  // Waits for a wake since the last call.
  void Wait() {
    std::unique_lock lock(mutex_);
    woken_.wait(lock, [this] { return wakes_ > seen_; });
    seen_ = wakes_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable woken_;
  uint64_t wakes_ = 0;
  uint64_t seen_ = 0;
};

// Holds each step at a gate while it is shut; Pass lets one through.
class GatedExecutor final : public Executor {
 public:
  void Launch(const Plan& plan) override { fake.Launch(plan); }
  Result<const StepResult*> Await() override {
    std::unique_lock lock(mutex_);
    ++arrived_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_ || passes_ > 0; });
    passes_ = std::max(0, passes_ - 1);
    return fake.Await();
  }
  Result<void> Sleep() override {
    return sleeps ? Result<void>() : MakeError(ErrorCode::kInternal, "these weights cannot sleep");
  }
  void Open(bool open) {
    {
      const std::lock_guard lock(mutex_);
      open_ = open;
    }
    changed_.notify_all();
  }
  void Pass() {
    {
      const std::lock_guard lock(mutex_);
      ++passes_;
    }
    changed_.notify_all();
  }
  void WaitForStep() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return arrived_ > 0; });
  }

  FakeExecutor fake;
  std::atomic<bool> sleeps = true;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = true;
  int arrived_ = 0;
  int passes_ = 0;
};

struct Answer {
  std::map<int, std::vector<Token>> tokens;
  std::map<int, OutputEvent> finishes;

  // Reads what is there. Complains about anything behind a finish.
  void Take(Ticket& ticket) {
    std::vector<OutputEvent> events;
    ticket.Read(events);
    for (OutputEvent& event : events) {
      EXPECT_FALSE(finishes.contains(event.index));
      if (event.kind == OutputEvent::Kind::kToken) {
        tokens[event.index].push_back(event.token);
      } else if (event.kind == OutputEvent::Kind::kFinish) {
        finishes[event.index] = std::move(event);
      }
    }
  }
  void TakeAll(Ticket& ticket, CountingWaker& waker, int n) {
    Take(ticket);
    while (static_cast<int>(finishes.size()) < n) {
      waker.Wait();
      Take(ticket);
    }
  }
};

struct EngineTest : testing::Test {
  void Start(EngineOptions options = {}, int64_t pages = 64, memory::KvCacheParts parts = {}) {
    options.prefix_caching = prefix_caching;
    options.limits = {.vocab = kFakeVocab, .max_model_len = 1024, .max_n = 8, .max_logprobs = 5};
    mocked = memory::MakeMockedCache(memory::TestCacheOptions(pages, options.max_num_seqs, 64),
                                     memory::MockBackend::Storage::kNone, std::move(parts));
    engine = std::make_unique<Engine>(options, *mocked.cache, executor);
  }
  void TearDown() override {
    executor.Open(true);
    engine.reset();
    EXPECT_EQ(mocked.cache->Stats().live_pages, 0);
    mocked.cache->CheckInvariants();
  }

  bool prefix_caching = false;  // test prompts are all alike: most tests want them computed
  memory::MockedCache mocked;
  GatedExecutor executor;
  CountingWaker waker;
  std::unique_ptr<Engine> engine;
};

}  // namespace causeway::scheduler
