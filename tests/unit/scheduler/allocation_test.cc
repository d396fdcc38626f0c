// The step loop allocates nothing in steady state: counted in the allocation functions themselves.
#include <cstdlib>

#include <gtest/gtest.h>

#include "tests/support/scheduler_fixture.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CAUSEWAY_COUNT_ALLOCATIONS 0  // the sanitizers have allocation functions of their own
#else
#define CAUSEWAY_COUNT_ALLOCATIONS 1
#endif

#if CAUSEWAY_COUNT_ALLOCATIONS
namespace {
thread_local int64_t allocations = 0;
}

// Not inline, or the compiler sees aligned_alloc meet delete.
[[gnu::noinline]] void* operator new(size_t bytes) {
  ++allocations;
  if (void* const block = std::aligned_alloc(16, (bytes + 15) / 16 * 16 + 16)) {
    return block;
  }
  std::abort();
}
[[gnu::noinline]] void operator delete(void* block) noexcept { (std::free)(block); }
[[gnu::noinline]] void operator delete(void* block, size_t) noexcept { (std::free)(block); }
#endif

namespace causeway::scheduler {
namespace {

struct AllocationTest : SchedulerFixture {};

TEST_F(AllocationTest, DecodingDoesNotAllocate) {
#if !CAUSEWAY_COUNT_ALLOCATIONS
  GTEST_SKIP() << "not counted under a sanitizer";
#else
  Make({.max_num_seqs = 8, .max_num_batched_tokens = 6, .max_prefill_stall_steps = 4}, 512);
  GenerateRequest request = MakeTestRequest(5, 600);
  request.n = 12;  // 6 run; the others wait
  scheduler->Add(1, request, now);
  StepUntilIdle();  // so that ranges with all their pages lie parked
  scheduler->Add(2, request, now);
  std::vector<SchedulerEvent> events;
  int64_t within = 0;
  for (int step = 0; step < 400; ++step) {
    const int64_t before = allocations;
    const Plan& plan = scheduler->Next(now);
    const int64_t after_next = allocations;
    executor.Launch(plan);
    const StepResult& result = **executor.Await();
    const int64_t before_apply = allocations;
    scheduler->Apply(result, now);
    events.clear();
    scheduler->TakeEvents(events);
    ASSERT_FALSE(events.empty());
    within += step < 20 ? 0 : after_next - before + allocations - before_apply;
  }
  EXPECT_EQ(within, 0);
#endif
}

// With pages that are shared and published, a step allocates only where pages end.
TEST_F(AllocationTest, SharingDoesNotAllocateWithinAPage) {
#if !CAUSEWAY_COUNT_ALLOCATIONS
  GTEST_SKIP() << "not counted under a sanitizer";
#else
  prefix_caching = true;
  Make({.max_num_seqs = 6, .max_num_batched_tokens = 64}, 512);
  GenerateRequest request = MakeTestRequest(5 * kPage + 1, 20 * kPage);
  request.n = 6;
  scheduler->Add(1, request, now);
  std::vector<SchedulerEvent> events;
  int64_t steps_that_allocate = 0;
  int64_t grouped_rows = 0;
  for (int64_t step = 0; step < 12 * kPage; ++step) {
    const Plan& plan = scheduler->Next(now);
    const int64_t before = allocations;
    scheduler->Next(now);  // the same again: nothing has happened
    const int64_t after_next = allocations;
    for (const PlanRow& row : plan.rows) {
      grouped_rows += row.share_group >= 0 ? 1 : 0;
    }
    executor.Launch(plan);
    const StepResult& result = **executor.Await();
    const int64_t before_apply = allocations;
    scheduler->Apply(result, now);
    events.clear();
    scheduler->TakeEvents(events);
    steps_that_allocate += step >= 2 * kPage && after_next - before + allocations - before_apply > 0 ? 1 : 0;
  }
  EXPECT_GT(grouped_rows, 11 * kPage * 5);
  EXPECT_LE(steps_that_allocate, 10 * 2);  // the first answer is ahead of the others, so that pages end at two steps
#endif
}

}  // namespace
}  // namespace causeway::scheduler
