#include "memory/budget.h"

#include <atomic>
#include <thread>

#include <gtest/gtest.h>

namespace causeway::memory {
namespace {

constexpr TenantId kA = 0;
constexpr TenantId kB = 1;

TEST(Budget, MovesPagesBetweenClasses) {
  Budget budget(10, 2);
  budget.Move(PageClass::kFree, kA, PageClass::kLive, kB);
  budget.Move(PageClass::kFree, kA, PageClass::kLive, kA);
  budget.Move(PageClass::kLive, kA, PageClass::kCached, kA);
  const PageCounts pages = budget.Read();
  EXPECT_EQ(pages[PageClass::kLive], 1);
  EXPECT_EQ(pages[PageClass::kCached], 1);
  EXPECT_EQ(pages[PageClass::kFree], 8);
  EXPECT_EQ(pages.total(), 10);
  EXPECT_EQ(budget.ReadTenant(kA)[PageClass::kCached], 1);
  EXPECT_EQ(budget.ReadTenant(kB)[PageClass::kLive], 1);
}

TEST(Budget, AParkedPageIsNobodys) {
  Budget budget(2, 2);
  budget.Move(PageClass::kFree, kA, PageClass::kLive, kA);
  budget.Move(PageClass::kLive, kA, PageClass::kParked, kA);
  EXPECT_EQ(budget.ReadTenant(kA).charged(), 0);
  budget.Move(PageClass::kParked, kA, PageClass::kLive, kB);
  EXPECT_EQ(budget.ReadTenant(kA).charged(), 0);
  EXPECT_EQ(budget.ReadTenant(kB).charged(), 1);
}

TEST(BudgetDeathTest, NeverGoesUnder) {
  Budget budget(3, 1);
  EXPECT_DEATH(budget.Move(PageClass::kLive, kA, PageClass::kFree, kA), "now >= 0");
  EXPECT_DEATH(budget.ChangeTotal(-4), "now >= 0");
}

// A reader beside the writer sees only states that were: here live + parked is always 8.
TEST(Budget, ReadsAreConsistent) {
  Budget budget(16, 1);
  for (int i = 0; i < 8; ++i) {
    budget.Move(PageClass::kFree, kA, PageClass::kLive, kA);
  }
  std::atomic<bool> done{false};
  std::thread reader([&] {
    while (!done) {
      const PageCounts pages = budget.Read();
      ASSERT_EQ(pages[PageClass::kLive] + pages[PageClass::kParked], 8);
      ASSERT_EQ(pages[PageClass::kFree], 8);
    }
  });
  for (int i = 0; i < 20000; ++i) {
    budget.Move(PageClass::kLive, kA, PageClass::kParked, kA);
    budget.Move(PageClass::kParked, kA, PageClass::kLive, kA);
  }
  done = true;
  reader.join();
}

}  // namespace
}  // namespace causeway::memory
