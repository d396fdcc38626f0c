// What every backend promises, asked of each of them.
#include <algorithm>
#include <cstring>
#include <string>

#include <gtest/gtest.h>

#include "tests/support/kv_fixtures.h"

namespace causeway::memory {
namespace {

constexpr int64_t kPages = 16;

struct BackendTest : testing::TestWithParam<std::string> {
  std::unique_ptr<VmBackend> backend = MakeTestBackend(GetParam(), kPages);
  const int64_t page_bytes = TestGeometry().page_bytes;
  std::byte* const arena = backend->ReserveArena(kPages * page_bytes).value();

  std::byte* At(int64_t page) const { return arena + page * page_bytes; }
  void Create(std::initializer_list<PageId> pages) {
    for (const PageId page : pages) {
      ASSERT_TRUE(backend->Create(page).ok());
    }
  }
};

TEST_P(BackendTest, CountsPhysicalBytesExactly) {
  EXPECT_EQ(backend->PhysicalBytes(), 0);
  Create({0, 7});
  EXPECT_EQ(backend->PhysicalBytes(), 2 * page_bytes);
  ASSERT_TRUE(backend->Map(At(0), std::vector<PageId>{7}, true).ok());
  std::memset(At(0), 1, static_cast<size_t>(page_bytes));
  EXPECT_EQ(backend->PhysicalBytes(), 2 * page_bytes);  // prefaulted: touching adds nothing
  ASSERT_TRUE(backend->Unmap(At(0), 1).ok());
  EXPECT_EQ(backend->PhysicalBytes(), 2 * page_bytes);  // unmapping gives nothing back
  ASSERT_TRUE(backend->Release(7).ok());
  EXPECT_EQ(backend->PhysicalBytes(), page_bytes);
}

TEST_P(BackendTest, BytesFollowTheirPage) {
  Create({0, 1, 2, 3});
  ASSERT_TRUE(backend->Map(At(0), std::vector<PageId>{2, 3, 0}, true).ok());
  for (int i = 0; i < 3; ++i) {
    std::memset(At(i), 10 + i, static_cast<size_t>(page_bytes));
  }
  ASSERT_TRUE(backend->Unmap(At(0), 3).ok());
  ASSERT_TRUE(backend->Map(At(5), std::vector<PageId>{0, 1, 2}, true).ok());
  EXPECT_EQ(std::to_integer<int>(At(5)[page_bytes - 1]), 12);
  EXPECT_EQ(std::to_integer<int>(At(6)[0]), 0);  // never written: zeros
  EXPECT_EQ(std::to_integer<int>(At(7)[0]), 10);
}

TEST_P(BackendTest, AliasesShowTheSameBytes) {
  Create({0, 1});
  ASSERT_TRUE(backend->Map(At(0), std::vector<PageId>{0, 1}, true).ok());
  std::memset(At(0), 7, static_cast<size_t>(page_bytes));
  std::memset(At(1), 8, static_cast<size_t>(page_bytes));
  ASSERT_TRUE(backend->Protect(At(0), 1, false).ok());
  ASSERT_TRUE(backend->Map(At(4), std::vector<PageId>{0}, false).ok());
  EXPECT_EQ(std::to_integer<int>(At(4)[page_bytes - 1]), 7);
  ASSERT_TRUE(backend->Unmap(At(0), 1).ok());
  EXPECT_EQ(std::to_integer<int>(At(4)[0]), 7);  // the other mapping is not touched
  ASSERT_TRUE(backend->Replace(At(1), 0, false).ok());
  EXPECT_EQ(std::to_integer<int>(At(1)[0]), 7);
  EXPECT_EQ(backend->PhysicalBytes(), 2 * page_bytes);
}

TEST_P(BackendTest, UnmapsAPartOfARun) {
  Create({0, 1, 2});
  ASSERT_TRUE(backend->Map(At(0), std::vector<PageId>{0, 1, 2}, true).ok());
  std::memset(At(0), 5, static_cast<size_t>(3 * page_bytes));
  ASSERT_TRUE(backend->Unmap(At(1), 2).ok());
  EXPECT_EQ(std::to_integer<int>(At(0)[7]), 5);
  ASSERT_TRUE(backend->Map(At(1), std::vector<PageId>{2}, true).ok());
  EXPECT_EQ(std::to_integer<int>(At(1)[7]), 5);
}

TEST_P(BackendTest, AReleasedPageComesBackAsZeros) {
  Create({4});
  ASSERT_TRUE(backend->Map(At(0), std::vector<PageId>{4}, true).ok());
  std::memset(At(0), 9, static_cast<size_t>(page_bytes));
  ASSERT_TRUE(backend->Unmap(At(0), 1).ok());
  ASSERT_TRUE(backend->Release(4).ok());
  Create({4});
  ASSERT_TRUE(backend->Map(At(0), std::vector<PageId>{4}, true).ok());
  EXPECT_TRUE(std::all_of(At(0), At(1), [](std::byte value) { return value == std::byte{0}; }));
}

TEST_P(BackendTest, ProtectedPagesStayReadable) {
  Create({0, 1});
  ASSERT_TRUE(backend->Map(At(0), std::vector<PageId>{0, 1}, true).ok());
  std::memset(At(0), 3, static_cast<size_t>(2 * page_bytes));
  ASSERT_TRUE(backend->Protect(At(0), 1, false).ok());
  EXPECT_EQ(std::to_integer<int>(At(0)[100]), 3);
  ASSERT_TRUE(backend->Protect(At(0), 1, true).ok());
  std::memset(At(0), 4, static_cast<size_t>(page_bytes));
  EXPECT_EQ(std::to_integer<int>(At(0)[100]), 4);
}

TEST_P(BackendTest, GranularityDividesThePageAndMappingsAreLimitedOrNot) {
  EXPECT_EQ(page_bytes % backend->granularity(), 0);
  EXPECT_GT(backend->MaxMappings(), 1000);
}

INSTANTIATE_TEST_SUITE_P(All, BackendTest, testing::Values("mock", "linux"),
                         [](const auto& info) { return info.param; });

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
