#include "memory/budget.h"

#include <atomic>
#include <thread>

#include <gtest/gtest.h>

namespace causeway::memory {
namespace {

TEST(Budget, MovesPagesBetweenClasses) {
  Budget budget(10);
  budget.Change(4, 0, 0);
  budget.Change(-3, 3, 0);
  budget.Change(0, -2, 2);
  const BudgetPages pages = budget.Read();
  EXPECT_EQ(pages.live, 1);
  EXPECT_EQ(pages.parked, 1);
  EXPECT_EQ(pages.cached, 2);
  EXPECT_EQ(pages.free, 6);
  EXPECT_EQ(pages.total, 10);
}

TEST(BudgetDeathTest, NeverGoesOverOrUnder) {
  Budget budget(3);
  EXPECT_DEATH(budget.Change(2, 2, 0), "new_live");
  EXPECT_DEATH(budget.Change(-1, 0, 0), "new_live");
}

// A reader beside the writer sees only states that were: here live + parked is always 8.
TEST(Budget, ReadsAreConsistent) {
  Budget budget(16);
  budget.Change(8, 0, 0);
  std::atomic<bool> done{false};
  std::thread reader([&] {
    while (!done) {
      const BudgetPages pages = budget.Read();
      ASSERT_EQ(pages.live + pages.parked, 8);
      ASSERT_EQ(pages.free, 8);
    }
  });
  for (int i = 0; i < 20000; ++i) {
    budget.Change(-5, 5, 0);
    budget.Change(5, -5, 0);
  }
  done = true;
  reader.join();
}

}  // namespace
}  // namespace causeway::memory
