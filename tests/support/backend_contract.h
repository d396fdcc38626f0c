// What every backend promises, asked of each that a test file instantiates this for.
#pragma once

#include <thread>
#include <vector>

#include "tests/support/backend_fixture.h"

namespace causeway::memory {

using BackendContract = BackendTest;

TEST_P(BackendContract, CountsPhysicalBytesExactly) {
  EXPECT_EQ(backend->PhysicalBytes(), 0);
  Create({0, 7});
  EXPECT_EQ(backend->PhysicalBytes(), 2 * page_bytes);
  ASSERT_TRUE(backend->Map(At(0), std::vector<PageId>{7}, true).ok());
  Fill(At(0), 1);
  EXPECT_EQ(backend->PhysicalBytes(), 2 * page_bytes);  // prefaulted: touching adds nothing
  ASSERT_TRUE(backend->Unmap(At(0), 1).ok());
  (void)backend->Improve(7);
  EXPECT_EQ(backend->PhysicalBytes(), 2 * page_bytes);  // nor does this, and unmapping gives nothing back
  ASSERT_TRUE(backend->Release(7).ok());
  EXPECT_EQ(backend->PhysicalBytes(), page_bytes);
}

TEST_P(BackendContract, BytesFollowTheirPage) {
  Create({0, 1, 2, 3});
  ASSERT_TRUE(backend->Map(At(0), std::vector<PageId>{2, 3, 0}, true).ok());
  for (int i = 0; i < 3; ++i) {
    Fill(At(i), 10 + i);
  }
  ASSERT_TRUE(backend->Unmap(At(0), 3).ok());
  ASSERT_TRUE(backend->Map(At(5), std::vector<PageId>{0, 1, 2}, true).ok());
  EXPECT_EQ(ValueAt(At(5)), 12);
  EXPECT_EQ(ValueAt(At(6)), 0);  // never written: zeros
  EXPECT_EQ(ValueAt(At(7)), 10);
}

TEST_P(BackendContract, AliasesShowTheSameBytes) {
  Create({0, 1});
  ASSERT_TRUE(backend->Map(At(0), std::vector<PageId>{0, 1}, true).ok());
  Fill(At(0), 7);
  Fill(At(1), 8);
  ASSERT_TRUE(backend->Protect(At(0), 1, false).ok());
  ASSERT_TRUE(backend->Map(At(4), std::vector<PageId>{0}, false).ok());
  EXPECT_EQ(ValueAt(At(4)), 7);
  ASSERT_TRUE(backend->Unmap(At(0), 1).ok());
  EXPECT_EQ(ValueAt(At(4)), 7);  // the other mapping is not touched
  ASSERT_TRUE(backend->Replace(At(1), 0, false).ok());
  EXPECT_EQ(ValueAt(At(1)), 7);
  EXPECT_EQ(backend->PhysicalBytes(), 2 * page_bytes);
}

TEST_P(BackendContract, UnmapsAPartOfARun) {
  Create({0, 1, 2});
  ASSERT_TRUE(backend->Map(At(0), std::vector<PageId>{0, 1, 2}, true).ok());
  for (int i = 0; i < 3; ++i) {
    Fill(At(i), 5 + i);
  }
  ASSERT_TRUE(backend->Unmap(At(1), 2).ok());
  EXPECT_EQ(ValueAt(At(0)), 5);
  ASSERT_TRUE(backend->Map(At(1), std::vector<PageId>{2}, true).ok());
  EXPECT_EQ(ValueAt(At(1)), 7);
}

TEST_P(BackendContract, AReleasedPageComesBackAsZeros) {
  Create({4});
  ASSERT_TRUE(backend->Map(At(0), std::vector<PageId>{4}, true).ok());
  Fill(At(0), 9);
  (void)backend->Improve(4);
  ASSERT_TRUE(backend->Unmap(At(0), 1).ok());
  ASSERT_TRUE(backend->Release(4).ok());
  Create({4});
  ASSERT_TRUE(backend->Map(At(0), std::vector<PageId>{4}, true).ok());
  EXPECT_EQ(ValueAt(At(0)), 0);
}

TEST_P(BackendContract, ProtectedPagesStayReadable) {
  Create({0, 1});
  ASSERT_TRUE(backend->Map(At(0), std::vector<PageId>{0, 1}, true).ok());
  Fill(At(0), 3);
  ASSERT_TRUE(backend->Protect(At(0), 2, false).ok());
  EXPECT_EQ(ValueAt(At(0)), 3);
  ASSERT_TRUE(backend->Protect(At(0), 1, true).ok());
  Fill(At(0), 4);
  EXPECT_EQ(ValueAt(At(0)), 4);
}

TEST_P(BackendContract, ReadsAndWritesByIdWhatMappingsShow) {
  Create({3, 5});
  ASSERT_TRUE(backend->WritePage(5, PageOf(1)).ok());  // mapped nowhere
  EXPECT_EQ(ValueOf(5), 1);
  EXPECT_EQ(ValueOf(3), 0);
  ASSERT_TRUE(backend->Map(At(2), std::vector<PageId>{5, 3}, true).ok());
  EXPECT_EQ(ValueAt(At(2)), 1);
  Fill(At(2), 6);
  EXPECT_EQ(ValueOf(5), 6);
  ASSERT_TRUE(backend->Protect(At(2), 1, false).ok());
  ASSERT_TRUE(backend->WritePage(5, PageOf(1)).ok());  // protection is for those who have addresses
  EXPECT_EQ(ValueAt(At(2)), 1);
  ASSERT_TRUE(backend->Copy(At(3), At(2)).ok());
  EXPECT_EQ(ValueOf(3), 1);
}

TEST_P(BackendContract, ImprovingKeepsBytesMappingsAndAccess) {
  Create({0, 1, 2, 3});
  ASSERT_TRUE(backend->Map(At(0), std::vector<PageId>{0, 1, 2, 3}, true).ok());
  for (int i = 0; i < 4; ++i) {
    Fill(At(i), 20 + i);
  }
  ASSERT_TRUE(backend->Protect(At(1), 1, false).ok());
  ASSERT_TRUE(backend->Map(At(8), std::vector<PageId>{1}, false).ok());
  const bool improved = backend->ImproveRun(0, 3);
  EXPECT_EQ(backend->ImproveRun(0, 3), improved);
  EXPECT_EQ(backend->PhysicalBytes(), 4 * page_bytes);
  EXPECT_EQ(ValueAt(At(8)), 21);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(ValueAt(At(i)), 20 + i);
    EXPECT_EQ(ValueOf(static_cast<PageId>(i)), 20 + i);
  }
  Fill(At(0), 30);
  ASSERT_TRUE(backend->WritePage(2, PageOf(1)).ok());
  EXPECT_EQ(ValueOf(0), 30);
  EXPECT_EQ(ValueAt(At(2)), 1);
}

TEST_P(BackendContract, GranularityDividesThePageAndMappingsAreLimitedOrNot) {
  EXPECT_EQ(page_bytes % backend->granularity(), 0);
  EXPECT_GT(backend->MaxMappings(), 1000);
  EXPECT_EQ(backend->Describe().find(backend->name()), 0U);
}

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

}  // namespace causeway::memory
