#include "base/bounded_queue.h"

#include <memory>
#include <thread>

#include <gtest/gtest.h>

namespace causeway {
namespace {

TEST(BoundedQueueTest, RefusesWhenFullAndKeepsTheItem) {
  BoundedQueue<std::unique_ptr<int>> queue(1);
  EXPECT_TRUE(queue.TryPush(std::make_unique<int>(1)));
  auto second = std::make_unique<int>(2);
  EXPECT_FALSE(queue.TryPush(std::move(second)));
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(**queue.Pop(), 1);
}

TEST(BoundedQueueTest, CloseDrainsThenEnds) {
  BoundedQueue<int> queue(4);
  ASSERT_TRUE(queue.TryPush(1));
  queue.Close();
  EXPECT_FALSE(queue.TryPush(2));
  EXPECT_EQ(queue.Pop(), 1);
  EXPECT_EQ(queue.Pop(), std::nullopt);
}

TEST(BoundedQueueTest, NotifyWakesAWaiter) {
  BoundedQueue<int> queue(1);
  std::thread waiter([&] { queue.WaitUntil(kNever); });
  queue.Notify();
  waiter.join();
}

TEST(BoundedQueueTest, EveryItemArrivesOnceFromManyThreads) {
  constexpr int kItems = 2000;
  BoundedQueue<int> queue(16);
  std::thread producer([&] {
    for (int i = 0; i < kItems; ++i) {
      while (!queue.TryPush(int{i})) {
        std::this_thread::yield();
      }
    }
    queue.Close();
  });
  int expected = 0;
  while (const auto item = queue.Pop()) {
    ASSERT_EQ(*item, expected++);
  }
  producer.join();
  EXPECT_EQ(expected, kItems);
}

}  // namespace
}  // namespace causeway
