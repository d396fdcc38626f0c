// The engine with real threads: tickets, cancels, drain, stop. Runs under the thread sanitizer.
#include <atomic>
#include <optional>
#include <thread>

#include <gtest/gtest.h>

#include "tests/support/engine_fixture.h"
#include "tests/support/run_scale.h"

namespace causeway::scheduler {
namespace {

TEST_F(EngineTest, AnswersOneRequest) {
  Start();
  GenerateRequest request = MakeTestRequest(40, 20);
  request.n = 3;
  Ticket ticket = engine->Submit(request, waker).value();
  Answer answer;
  answer.TakeAll(ticket, waker, 3);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(answer.tokens[i], ExpectedOutput(request, i));
    EXPECT_EQ(answer.finishes[i].finish, FinishReason::kLength);
  }
  engine->Drain(kNever);  // the step's figures are out then
  const EngineStats stats = engine->Stats();
  EXPECT_EQ(stats.generation_tokens, 60U);
  EXPECT_EQ(stats.prompt_tokens, 120U);
  EXPECT_EQ(stats.running + stats.waiting, 0);
}

TEST_F(EngineTest, RefusesWhatIsWrongOrTooMuch) {
  executor.Open(false);
  Start({.max_num_seqs = 2, .max_queued_requests = 3, .max_queued_tokens = 50}, 4);
  const auto refusal = [&](const GenerateRequest& request) {
    const auto ticket = engine->Submit(request, waker);
    EXPECT_FALSE(ticket.ok());
    return ticket.ok() ? Error{} : ticket.error();
  };
  EXPECT_EQ(refusal(MakeTestRequest(0, 1)).code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(refusal(MakeTestRequest(1000, 25)).code, ErrorCode::kContextLength);
  EXPECT_EQ(refusal(MakeTestRequest(10, 60)).param, "max_tokens");  // never fits the cache
  GenerateRequest many = MakeTestRequest(10, 1);
  many.n = 4;  // never fits the queue: not "try again later"
  EXPECT_EQ(refusal(many).code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(refusal(MakeTestRequest(51, 1)).code, ErrorCode::kInvalidArgument);
  Ticket running = engine->Submit(MakeTestRequest(4, 1), waker).value();
  executor.WaitForStep();
  std::vector<Ticket> tickets;
  for (int i = 0; i < 2; ++i) {
    tickets.push_back(engine->Submit(MakeTestRequest(20, 1), waker).value());
  }
  EXPECT_EQ(refusal(MakeTestRequest(20, 1)).code, ErrorCode::kResourceExhausted);  // by tokens
  EXPECT_GE(engine->Stats().waiting, 2);
  executor.Open(true);
  Answer answer;
  answer.TakeAll(tickets.back(), waker, 1);
  EXPECT_EQ(answer.tokens[0].size(), 1U);
  EXPECT_TRUE(engine->Submit(MakeTestRequest(20, 1), waker).ok());
}

TEST_F(EngineTest, ADroppedTicketFreesItsPages) {
  executor.Open(false);
  Start();
  {
    const Ticket ticket = engine->Submit(MakeTestRequest(40, 900), waker).value();
    executor.WaitForStep();
  }
  executor.Open(true);
  engine->Drain(kNever);  // returns when it is gone: 900 tokens are never drawn
  EXPECT_LT(engine->Stats().generation_tokens, 900U);
  EXPECT_EQ(mocked.cache->Stats().live_pages, 0);
}

TEST_F(EngineTest, CancelsOneSequence) {
  executor.Open(false);
  Start();
  GenerateRequest request = MakeTestRequest(4, 30);
  request.n = 2;
  Ticket ticket = engine->Submit(request, waker).value();
  ticket.CancelSequence(1);
  ticket.CancelSequence(1);
  ticket.CancelSequence(2);
  ticket.CancelSequence(-1);
  executor.Open(true);
  Answer answer;
  answer.TakeAll(ticket, waker, 2);
  EXPECT_EQ(answer.finishes[1].finish, FinishReason::kCancelled);
  EXPECT_EQ(answer.tokens[0], ExpectedOutput(request, 0));
}

TEST_F(EngineTest, DrainWaitsForWhatRunsAndRefusesTheRest) {
  executor.Open(false);
  Start();
  const GenerateRequest request = MakeTestRequest(4, 50);
  Ticket ticket = engine->Submit(request, waker).value();
  std::thread drainer([&] { engine->Drain(kNever); });
  ErrorCode refusal = ErrorCode::kInternal;
  while (refusal != ErrorCode::kUnavailable) {  // until the drainer has come so far; tickets are dropped
    const auto late = engine->Submit(request, waker);
    refusal = late.ok() ? ErrorCode::kInternal : late.error().code;
    std::this_thread::yield();
  }
  executor.Open(true);
  drainer.join();
  Answer answer;
  answer.Take(ticket);
  EXPECT_EQ(answer.tokens[0], ExpectedOutput(request, 0));
}

TEST_F(EngineTest, DrainEndsTheRestAtItsDeadline) {
  executor.Open(false);
  Start({.max_num_seqs = 1});
  Ticket running = engine->Submit(MakeTestRequest(4, 900), waker).value();
  Ticket waiting = engine->Submit(MakeTestRequest(4, 900), waker).value();
  executor.WaitForStep();
  std::atomic<bool> drained{false};
  std::thread stepper([&] {
    while (!drained) {
      executor.Pass();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  engine->Drain(Clock::now());
  drained = true;
  stepper.join();
  for (Ticket* const ticket : {&running, &waiting}) {
    Answer answer;
    answer.Take(*ticket);
    ASSERT_EQ(answer.finishes.size(), 1U);
    EXPECT_EQ(answer.finishes[0].error.code, ErrorCode::kUnavailable);
  }
  EXPECT_EQ(engine->Stats().running, 0);
  engine->Drain(kNever);  // again: nothing to wait for
  engine->Stop();
  engine->Drain(kNever);
}

TEST_F(EngineTest, TicketsMayOutliveTheEngine) {
  Start();
  Ticket ticket = engine->Submit(MakeTestRequest(4, 900), waker).value();
  engine.reset();
  Answer answer;
  answer.Take(ticket);
  ASSERT_EQ(answer.finishes.size(), 1U);
  ticket.CancelSequence(0);
}

TEST_F(EngineTest, AssigningATicketCancelsTheOldOne) {
  executor.Open(false);
  Start();
  Ticket first = engine->Submit(MakeTestRequest(4, 900), waker).value();
  Ticket second = engine->Submit(MakeTestRequest(4, 3), waker).value();
  first = std::move(second);  // `second` lives on, empty
  executor.Open(true);
  engine->Drain(kNever);
  EXPECT_LT(engine->Stats().generation_tokens, 900U);
  Answer answer;
  answer.Take(first);
  EXPECT_EQ(answer.tokens[0], ExpectedOutput(MakeTestRequest(4, 3), 0));
}

TEST_F(EngineTest, AFailedStepDoesNotStopTheEngine) {
  executor.Open(false);
  Start();
  executor.fake.failure = MakeError(ErrorCode::kInternal, "the machine failed");
  Ticket ticket = engine->Submit(MakeTestRequest(4, 3), waker).value();
  executor.Open(true);
  Answer answer;
  answer.TakeAll(ticket, waker, 1);
  EXPECT_EQ(answer.finishes[0].error.message, "the machine failed");
  Ticket next = engine->Submit(MakeTestRequest(4, 3), waker).value();
  Answer good;
  good.TakeAll(next, waker, 1);
  EXPECT_EQ(good.tokens[0], ExpectedOutput(MakeTestRequest(4, 3), 0));
}

// No memory for now: those who wait are looked at again, and their deadlines hold.
TEST_F(EngineTest, WaitsForTheMachinesMemory) {
  Start();
  mocked.mock->FailNth(memory::VmCall::kCreate, 1);
  Ticket ticket = engine->Submit(MakeTestRequest(4, 3), waker).value();
  Answer answer;
  answer.TakeAll(ticket, waker, 1);
  EXPECT_EQ(answer.tokens[0], ExpectedOutput(MakeTestRequest(4, 3), 0));
}

// Everything at once: submitters that read, cancel sequences or walk away; a reader of the figures; a drain in the
// middle. Each ticket that is kept sees every sequence end exactly once, with the tokens it had to give.
TEST_F(EngineTest, ManyThreads) {
  constexpr int kThreads = 4;
  const int rounds = kQuickBuild ? 200 : 40;
  Start({.max_num_seqs = 6, .max_num_batched_tokens = 32, .max_queued_requests = 24}, 12);
  std::atomic<int> done{0};
  const auto submitter = [&](int thread) {
    CountingWaker own;
    for (int round = 0; round < rounds; ++round, ++done) {
      const uint64_t dice = RandomBits(7, static_cast<uint64_t>(thread), static_cast<uint64_t>(round));
      GenerateRequest request =
          MakeTestRequest(1 + static_cast<int64_t>(dice % 60), 1 + static_cast<int64_t>(dice / 64 % 90), dice);
      request.n = 1 + static_cast<int>(dice >> 20 & 1);
      auto ticket = engine->Submit(request, own);
      if (!ticket.ok()) {
        EXPECT_TRUE(ticket.error().code == ErrorCode::kResourceExhausted ||
                    ticket.error().code == ErrorCode::kUnavailable);
        continue;
      }
      if ((dice >> 30 & 3) == 0) {
        continue;  // walks away
      }
      if ((dice >> 30 & 3) == 1) {
        ticket->CancelSequence(0);
      }
      Answer answer;
      answer.TakeAll(*ticket, own, request.n);
      for (auto& [index, finish] : answer.finishes) {
        std::vector<Token> expected = ExpectedOutput(request, index);
        if (finish.finish == FinishReason::kLength) {
          EXPECT_EQ(answer.tokens[index], expected);
        }
        expected.resize(std::min(expected.size(), answer.tokens[index].size()));
        EXPECT_EQ(answer.tokens[index], expected);
        EXPECT_EQ(finish.output_tokens, static_cast<int64_t>(expected.size()));
      }
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back(submitter, i);
  }
  while (done < kThreads * rounds / 2) {
    const EngineStats stats = engine->Stats();
    EXPECT_LE(stats.running, 6);
    EXPECT_LE(stats.waiting, 24);
    EXPECT_LE(stats.kv_usage, 1.0);
    std::this_thread::yield();
  }
  engine->Drain(Clock::now());
  engine->Stop();
  for (std::thread& thread : threads) {
    thread.join();
  }
}

}  // namespace
}  // namespace causeway::scheduler
