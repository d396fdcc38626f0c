// The contract on every backend that runs without a device; what only the mock has.
#include <vector>

#include "tests/support/backend_contract.h"

namespace causeway::memory {
namespace {

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
