#include "memory/page_pool.h"

#include <gtest/gtest.h>

#include "memory/vm/mock_backend.h"

namespace causeway::memory {
namespace {

std::vector<PageId> Ids(const std::vector<PageRef>& pages) {
  std::vector<PageId> ids;
  for (const PageRef& page : pages) {
    ids.push_back(page.page());
  }
  return ids;
}

struct PagePoolTest : testing::Test {
  MockBackend backend{{.page_bytes = 64, .max_pages = 200}};
  PagePool pool{backend, 200};
  std::vector<PageRef> pages;
};

TEST(PageSet, FindsTheNextMemberRoundTheEnd) {
  PageSet set(200);
  for (const PageId page : {3U, 64U, 199U}) {
    set.Insert(page);
  }
  EXPECT_EQ(set.NextFrom(0), 3U);
  EXPECT_EQ(set.NextFrom(4), 64U);
  EXPECT_EQ(set.NextFrom(64), 64U);
  EXPECT_EQ(set.NextFrom(65), 199U);
  set.Erase(199);
  EXPECT_EQ(set.NextFrom(65), 3U);
  EXPECT_EQ(set.Last(), 64U);
  EXPECT_EQ(set.size(), 2);
}

TEST(PageSet, GoesRoundWithinItsOwnWord) {
  PageSet set(10);
  set.Insert(2);
  EXPECT_EQ(set.NextFrom(5), 2U);
}

TEST_F(PagePoolTest, CreatesOnFirstUseAndRecycles) {
  ASSERT_TRUE(pool.Acquire(3, 0, pages).ok());
  EXPECT_EQ(Ids(pages), (std::vector<PageId>{0, 1, 2}));
  EXPECT_EQ(pool.created(), 3);
  pages.clear();
  EXPECT_EQ(pool.free_pages(), 3);
  ASSERT_TRUE(pool.Acquire(2, 0, pages).ok());
  EXPECT_EQ(backend.calls(VmCall::kCreate), 3U);  // the high-water mark did not move
  EXPECT_EQ(pool.Available(), 198);
  pool.CheckInvariants();
}

TEST_F(PagePoolTest, ContinuesARunWhereItCan) {
  ASSERT_TRUE(pool.Acquire(8, 0, pages).ok());
  std::vector<PageRef> other;
  other.push_back(std::move(pages[5]));
  other.push_back(std::move(pages[2]));
  other.clear();
  std::vector<PageRef> more;
  ASSERT_TRUE(pool.Acquire(1, 5, more).ok());
  EXPECT_EQ(Ids(more), std::vector<PageId>{5});
  ASSERT_TRUE(pool.Acquire(2, 6, more).ok());
  EXPECT_EQ(Ids(more), (std::vector<PageId>{5, 8, 2}));  // 6 and 7 are taken: from 8 on, then round
}

TEST_F(PagePoolTest, TheLastReferenceReturnsThePage) {
  ASSERT_TRUE(pool.Acquire(1, 0, pages).ok());
  PageRef second = pages[0].Share();
  EXPECT_EQ(pool.References(0), 2U);
  pages.clear();
  EXPECT_EQ(pool.free_pages(), 0);  // a plan in flight may still name it
  second = PageRef();
  EXPECT_EQ(pool.free_pages(), 1);
}

TEST_F(PagePoolTest, RefusesMoreThanItHas) {
  ASSERT_TRUE(pool.Acquire(150, 0, pages).ok());
  const auto refused = pool.Acquire(51, 0, pages);
  EXPECT_EQ(refused.error().code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(pages.size(), 150U);
  EXPECT_EQ(pool.created(), 150);
}

TEST_F(PagePoolTest, AFailedCreateLeavesFreePagesOnly) {
  backend.FailNth(VmCall::kCreate, 3);
  EXPECT_FALSE(pool.Acquire(5, 0, pages).ok());
  EXPECT_TRUE(pages.empty());
  EXPECT_EQ(pool.free_pages(), 2);
  pool.CheckInvariants();
  EXPECT_TRUE(pool.Acquire(5, 0, pages).ok());
}

TEST_F(PagePoolTest, TrimGivesBackFreePagesOnly) {
  ASSERT_TRUE(pool.Acquire(5, 0, pages).ok());
  pages.erase(pages.begin() + 1, pages.begin() + 4);
  ASSERT_TRUE(pool.Trim(1).ok());
  EXPECT_EQ(pool.created(), 3);
  EXPECT_EQ(backend.PhysicalBytes(), 3 * 64);
  ASSERT_TRUE(pool.Trim(0).ok());
  EXPECT_EQ(backend.created(), (std::set<PageId>{0, 4}));
  pool.CheckInvariants();
}

TEST(PagePoolDeathTest, ALeakedReferenceIsABug) {
  EXPECT_DEATH(
      {
        MockBackend backend({.page_bytes = 64, .max_pages = 2});
        std::vector<PageRef> leaked;
        PagePool pool(backend, 2);
        CHECK(pool.Acquire(1, 0, leaked).ok());
        pool.~PagePool();
      },
      "still referenced");
}

}  // namespace
}  // namespace causeway::memory
