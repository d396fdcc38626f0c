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

void* operator new(size_t bytes) {
  ++allocations;
  if (void* const block = std::aligned_alloc(16, (bytes + 15) / 16 * 16 + 16)) {
    return block;
  }
  std::abort();
}
void operator delete(void* block) noexcept { (std::free)(block); }
void operator delete(void* block, size_t) noexcept { (std::free)(block); }
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

}  // namespace
}  // namespace causeway::scheduler
