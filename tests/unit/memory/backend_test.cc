// The contract on every backend that runs without a device; what only the mock has.
#include <string>
#include <thread>

#include "tests/support/backend_contract.h"

namespace causeway::memory {
namespace {

using BackendThreads = BackendTest;

// The life of two pages, again and again, in places of the thread's own.
TEST_P(BackendThreads, CallsOnDifferentPagesRunAtOnce) {
  constexpr int64_t kOwn = 2;
  const auto live = [this](PageId first) {
    const std::vector<PageId> pages{first + 1, first};
    for (int round = 0; round < (page_bytes > 4096 ? 4 : 40); ++round) {
      Create({first, first + 1});
      ASSERT_TRUE(backend->Map(At(first), pages, true).ok());
      Fill(At(first), static_cast<int>(first) + round);
      Fill(At(first + 1), static_cast<int>(first) + round + 1);
      ASSERT_TRUE(backend->Protect(At(first), kOwn, false).ok());
      EXPECT_EQ(ValueOf(first), static_cast<int>(first) + round + 1);
      ASSERT_TRUE(backend->Unmap(At(first), kOwn).ok());
      ASSERT_TRUE(backend->Release(first).ok());
      ASSERT_TRUE(backend->Release(first + 1).ok());
    }
  };
  std::thread one(live, PageId{0});
  std::thread other(live, PageId{4});
  live(8);
  one.join();
  other.join();
  EXPECT_EQ(backend->PhysicalBytes(), 0);
}

TEST_P(BackendThreads, PagesAreImprovedWhileTheyAreReadAndWritten) {
  Create({0, 1, 2, 3});
  ASSERT_TRUE(backend->Map(At(0), std::vector<PageId>{0, 1, 2, 3}, true).ok());
  Fill(At(0), 1);
  std::thread control([this] {
    for (PageId page = 0; page < 4; ++page) {
      (void)backend->Improve(page);
      ASSERT_TRUE(backend->Create(10 + page).ok());
    }
  });
  const int rounds = page_bytes > 4096 ? 10 : 100;
  for (int round = 0; round < rounds; ++round) {
    Fill(At(3), round);
    ASSERT_EQ(ValueAt(At(0)), 1);
    ASSERT_EQ(ValueAt(At(3)), round);
    ASSERT_TRUE(backend->Unmap(At(1), 1).ok());
    ASSERT_TRUE(backend->Map(At(1), std::vector<PageId>{1}, true).ok());
  }
  control.join();
  EXPECT_EQ(ValueOf(3), rounds - 1);
}

const auto kEveryBackend = testing::Values("mock", "linux", "linux_huge", "linux_hugetlb", "cuda");
INSTANTIATE_TEST_SUITE_P(All, BackendContract, kEveryBackend, [](const auto& info) { return info.param; });
INSTANTIATE_TEST_SUITE_P(All, BackendThreads, kEveryBackend, [](const auto& info) { return info.param; });

struct MockBackendDeathTest : testing::Test {
  MockBackend backend{{.page_bytes = 64, .max_pages = 4}};
  std::byte* const arena = backend.ReserveArena(4 * 64).value();
};

TEST_F(MockBackendDeathTest, ChecksEveryPrecondition) {
  ASSERT_TRUE(backend.Create(0).ok());
  EXPECT_DEATH((void)backend.Create(0), "CHECK|insert");
  EXPECT_DEATH((void)backend.Create(4), "max_pages");
  EXPECT_DEATH((void)backend.Map(arena, std::vector<PageId>{1}, true), "created_");
  EXPECT_DEATH((void)backend.Map(arena + 1, std::vector<PageId>{0}, true), "offset");
  EXPECT_DEATH((void)backend.Map(arena + 4 * 64, std::vector<PageId>{0}, true), "arena_bytes_");
  EXPECT_DEATH((void)backend.Unmap(arena, 1), "mapping");
  ASSERT_TRUE(backend.Map(arena, std::vector<PageId>{0}, true).ok());
  EXPECT_DEATH((void)backend.Map(arena + 64, std::vector<PageId>{0}, false), "writer");
  EXPECT_DEATH((void)backend.Release(0), "page");
}

TEST_F(MockBackendDeathTest, FailsTheNthCallOnce) {
  backend.FailNth(VmCall::kCreate, 2);
  EXPECT_TRUE(backend.Create(0).ok());
  EXPECT_FALSE(backend.Create(1).ok());
  EXPECT_TRUE(backend.Create(1).ok());
  EXPECT_EQ(backend.calls(VmCall::kCreate), 3U);
}

}  // namespace
}  // namespace causeway::memory
