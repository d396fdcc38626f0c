// The engine's memory commands, from other threads: sleep, load, pins, size.
#include <atomic>
#include <thread>

#include <gtest/gtest.h>

#include "scheduler/pinned.h"
#include "tests/support/engine_fixture.h"

namespace causeway::scheduler {
namespace {

constexpr int64_t kLongest = 1024;  // EngineTest's limit
constexpr int64_t kPages = kLongest / kPage + 8;

struct EngineMemoryTest : EngineTest {
  void SetUp() override { prefix_caching = true; }

  Answer Ask(const GenerateRequest& request) {
    Ticket ticket = engine->Submit(request, waker).value();
    Answer answer;
    answer.TakeAll(ticket, waker, request.n);
    return answer;
  }
  Engine::LoadRequest LoadOf(const std::vector<Token>& tokens, int64_t good = memory::FakeTier::kAll) {
    const auto pages = tokens.size() / static_cast<size_t>(kPage);
    const auto bytes = static_cast<size_t>(mocked.cache->geometry().page_bytes);
    std::vector<std::vector<std::byte>> content(pages, std::vector<std::byte>(bytes));
    Engine::LoadRequest load;
    load.tokens = tokens;
    load.source = std::make_unique<memory::FakeSource>(std::move(content), good);
    return load;
  }
};

TEST_F(EngineMemoryTest, RequestsWaitThroughASleep) {
  executor.Open(false);
  Start({}, kPages);
  const GenerateRequest request = MakeTestRequest(40, 20);
  Ticket ticket = engine->Submit(request, waker).value();
  executor.WaitForStep();
  std::thread sleeper([&] { EXPECT_TRUE(engine->Sleep(true).ok()); });
  executor.Open(true);
  sleeper.join();
  EXPECT_TRUE(mocked.cache->asleep());
  EXPECT_EQ(mocked.cache->backend().PhysicalBytes(), 0);
  EXPECT_EQ(engine->Sleep(true).error().code, ErrorCode::kFailedPrecondition);
  Ticket late = engine->Submit(request, waker).value();
  ASSERT_TRUE(engine->Wake().ok());
  Answer answer;
  answer.TakeAll(ticket, waker, 1);
  EXPECT_EQ(answer.tokens[0], ExpectedOutput(request, 0));
  Answer late_answer;
  late_answer.TakeAll(late, waker, 1);
  EXPECT_EQ(late_answer.tokens[0], ExpectedOutput(request, 0));
  EXPECT_TRUE(engine->Wake().ok());  // it is awake
}

// The executor cannot sleep: all goes on as before. If the KV cache's memory is gone by then, that sleeps alone, until
// a wake gets some.
TEST_F(EngineMemoryTest, AFailedSleepLosesNothing) {
  Start({}, kPages);
  executor.sleeps = false;
  const GenerateRequest request = MakeTestRequest(40, 20);
  EXPECT_EQ(engine->Sleep(true).error().code, ErrorCode::kInternal);
  EXPECT_FALSE(mocked.cache->asleep());
  EXPECT_EQ(Ask(request).tokens[0], ExpectedOutput(request, 0));

  mocked.mock->FailNth(memory::VmCall::kCreate, 1);
  EXPECT_EQ(engine->Sleep(true).error().code, ErrorCode::kInternal);
  EXPECT_TRUE(mocked.cache->asleep());
  ASSERT_TRUE(engine->Wake().ok());
  EXPECT_EQ(Ask(request).tokens[0], ExpectedOutput(request, 0));
}

TEST_F(EngineMemoryTest, DeadlinesPassInASleep) {
  Start({}, kPages);
  ASSERT_TRUE(engine->Sleep(false).ok());
  GenerateRequest request = MakeTestRequest(4, 4);
  request.run_deadline = Clock::now() + std::chrono::milliseconds(20);
  const Answer answer = Ask(request);
  EXPECT_EQ(answer.finishes.at(0).error.code, ErrorCode::kDeadlineExceeded);
}

TEST_F(EngineMemoryTest, ADrainWakesTheEngine) {
  Start({}, kPages);
  ASSERT_TRUE(engine->Sleep(false).ok());
  const GenerateRequest request = MakeTestRequest(4, 4);
  Ticket ticket = engine->Submit(request, waker).value();
  engine->Drain(kNever);
  Answer answer;
  answer.TakeAll(ticket, waker, 1);
  EXPECT_EQ(answer.tokens[0], ExpectedOutput(request, 0));
}

TEST_F(EngineMemoryTest, PinsAreLetGoFromAnyThread) {
  Start({}, kPages);
  GenerateRequest request = MakeTestRequest(3 * kPage, 1);
  request.pin = true;
  Answer answer = Ask(request);
  auto pinned = answer.finishes.at(0).pinned;
  ASSERT_NE(pinned, nullptr);
  EXPECT_EQ(pinned->pages(), 3);
  EXPECT_EQ(engine->Sleep(false).error().code, ErrorCode::kFailedPrecondition);
  answer.finishes.clear();
  std::thread([pinned = std::move(pinned)]() mutable { pinned.reset(); }).join();
  EXPECT_TRUE(engine->Sleep(false).ok());
}

TEST_F(EngineMemoryTest, APinMayOutliveTheEngine) {
  Start({}, kPages);
  GenerateRequest request = MakeTestRequest(3 * kPage, 1);
  request.pin = true;
  Answer answer = Ask(request);
  engine->Stop();
  answer.finishes.clear();
  EXPECT_EQ(mocked.cache->Stats().pinned_pages, 0);
}

TEST_F(EngineMemoryTest, LoadedPagesAreFoundAndPinned) {
  Start({}, kPages);
  const std::vector<Token> tokens = MakeTestRequest(4 * kPage + 3, 1).prompt;
  const auto pinned = engine->Load(LoadOf(tokens));
  ASSERT_TRUE(pinned.ok()) << pinned.error().message;
  EXPECT_EQ((*pinned)->pages(), 4);
  EXPECT_EQ(mocked.cache->Stats().pinned_pages, 4);
}

TEST_F(EngineMemoryTest, ALoadIsWholeOrFails) {
  Start({}, kPages);
  const std::vector<Token> tokens = MakeTestRequest(4 * kPage, 1).prompt;
  EXPECT_EQ(engine->Load(LoadOf(tokens, 2)).error().code, ErrorCode::kFailedPrecondition);
  EXPECT_EQ(engine->Load(LoadOf(MakeTestRequest(9 * kPage, 1).prompt)).error().code, ErrorCode::kResourceExhausted);
  engine->Drain(kNever);
  EXPECT_EQ(mocked.cache->Stats().pinned_pages, 0);
}

TEST_F(EngineMemoryTest, ResizesAndTrims) {
  Start({}, kPages);
  Ask(MakeTestRequest(5 * kPage, 1));
  EXPECT_TRUE(engine->Resize(4).ok());
  EXPECT_EQ(mocked.cache->Stats().budget_pages, 4);
  EXPECT_EQ(engine->Submit(MakeTestRequest(5 * kPage, 1), waker).error().code, ErrorCode::kInvalidArgument);
  EXPECT_TRUE(engine->DropPrefixes().ok());
  EXPECT_TRUE(engine->Trim().ok());
  EXPECT_EQ(mocked.cache->backend().PhysicalBytes(), 0);
  EXPECT_TRUE(engine->Resize(kPages).ok());
  EXPECT_EQ(engine->Resize(kPages + 1).error().code, ErrorCode::kInvalidArgument);
  const GenerateRequest request = MakeTestRequest(5 * kPage, 4);
  EXPECT_EQ(Ask(request).tokens.at(0), ExpectedOutput(request, 0));
}

TEST_F(EngineMemoryTest, AnIdleEngineGivesMemoryBack) {
  Start({.idle_trim = std::chrono::milliseconds(1)}, kPages);
  Ask(MakeTestRequest(5 * kPage + 1, 1));
  while (mocked.cache->Stats().parked_pages > 0 || mocked.cache->Stats().created_pages > 5) {
    std::this_thread::yield();
  }
  EXPECT_EQ(mocked.cache->Stats().cached_pages, 5);
}

// Eight prompts of a client take more pages than there are, so that each one comes back from the tier, whether clients
// are served side by side or one after the other.
TEST_F(EngineMemoryTest, TierAndThreadsServeAPoolThatIsTooSmall) {
  constexpr int kPrompts = 8;
  memory::KvCacheParts parts;
  parts.tier = std::make_unique<memory::FakeTier>(4096);
  parts.control = std::make_unique<memory::MemoryControl>();
  parts.mover = std::make_unique<memory::MemoryControl>();
  Start({.max_num_seqs = 4}, 20, std::move(parts));
  std::vector<std::thread> clients;
  for (int client = 0; client < 3; ++client) {
    clients.emplace_back([this, client] {
      CountingWaker own;
      for (int round = 0; round < 20; ++round) {
        GenerateRequest request = MakeTestRequest((2 + round % 4) * kPage + 3, 30, 7);
        request.prompt[0] = static_cast<Token>(client * kPrompts + round % kPrompts);
        Ticket ticket = engine->Submit(request, own).value();
        Answer answer;
        answer.TakeAll(ticket, own, 1);
        EXPECT_EQ(answer.tokens[0], ExpectedOutput(request, 0));
      }
    });
  }
  for (std::thread& client : clients) {
    client.join();
  }
  EXPECT_GT(mocked.cache->Stats().restored_pages, 0U);
}

}  // namespace
}  // namespace causeway::scheduler
