// What vAttention (Prabhu et al., ASPLOS 2025), whose idea this memory follows, gets wrong or leaves out in its
// published source, one test a defect. tests/property/mutate.py puts each of them into our code and expects its test to
// fail.
#include <gtest/gtest.h>

#include "tests/support/kv_fixtures.h"
#include "tests/support/kv_sharer.h"

namespace causeway::memory {
namespace {

constexpr int64_t kT = kTestTokensPerPage;

KvCacheOptions Options() {
  KvCacheOptions options = TestCacheOptions(8, 4, 6);
  options.ready_pages = 2;
  return options;
}

struct VattentionDefects : testing::Test {
  MockedCache mocked = MakeMockedCache(Options(), MockBackend::Storage::kHeap);
  KvCache& cache = *mocked.cache;
  MockBackend& mock = *mocked.mock;

  Span NewSpan(int64_t pages) {
    Span span = cache.CreateSpan(pages * kT).value();
    EXPECT_TRUE(cache.Reserve(span, pages * kT).ok());
    return span;
  }
  PageId PageAt(const Span& span, int64_t page) const {
    return mock.mappings().at(span.base() + page * cache.geometry().page_bytes).page;
  }
};

// 1. No prefix is shared, nothing is copied on write, nothing evicted: what looks like sharing maps the same pages for
// all.
TEST_F(VattentionDefects, D1PrefixesAreSharedAndTheRestIsNot) {
  Sharer a(cache, Tokens(2 * kT + 3, 0));
  ASSERT_TRUE(a.Start().ok());
  a.Publish();
  WriteTag(a.span, 2, 111);
  Sharer b(cache, Tokens(2 * kT + 3, 0));
  ASSERT_TRUE(b.Start().ok());
  ASSERT_EQ(b.span.sealed_pages(), 2);
  EXPECT_EQ(PageAt(a.span, 1), PageAt(b.span, 1));
  EXPECT_NE(PageAt(a.span, 2), PageAt(b.span, 2));
  ASSERT_TRUE(cache.CopyPage(a.span, b.span, 2).ok());
  WriteTag(b.span, 2, 222);
  EXPECT_EQ(ReadTag(a.span, 2), 111U);
  EXPECT_EQ(cache.Stats().live_pages, 4);
  a.span.Release();
  b.span.Release();
  EXPECT_TRUE(cache.CanReserve(8));  // what is cached is evicted for it
  Span large = NewSpan(6);
  Span rest = NewSpan(2);
}

// 2. A sequence wastes up to a block of 2 * layers pages.
TEST_F(VattentionDefects, D2LessThanOnePageIsWasted) {
  Span span = cache.CreateSpan(1).value();
  for (int64_t positions = 1; positions <= 6 * kT; ++positions) {
    ASSERT_TRUE(cache.Reserve(span, positions).ok());
    const int64_t wasted = cache.Stats().live_pages * kT - positions;
    EXPECT_LT(wasted, kT);
    EXPECT_EQ(mock.PhysicalBytes(), cache.Stats().live_pages * cache.geometry().page_bytes);
  }
}

// 3. The thread that maps ahead may not have begun when the next step looks whether it has ended, and slots change
// under it. Here pages are on their way while the range is grown, freed, adopted and trimmed: they are waited for.
TEST_F(VattentionDefects, D3WhatIsBeingMappedIsWaitedFor) {
  const auto on_their_way = [&](Span& span) {
    for (int i = 0; i < 20; ++i) {
      cache.Poll();  // makes two pages ready
    }
    const int64_t parked = cache.Stats().parked_pages;
    cache.MapAhead(span, span.capacity_positions() + 2 * kT);
    ASSERT_EQ(cache.Stats().parked_pages, parked + 2);
  };
  Span span = NewSpan(2);
  on_their_way(span);
  ASSERT_TRUE(cache.Reserve(span, 6 * kT).ok());  // maps behind them, not over them
  cache.CheckInvariants();
  span.Release();
  ASSERT_TRUE(cache.Trim().ok());
  span = NewSpan(1);
  on_their_way(span);
  span.Release();
  Span next = NewSpan(6);  // adopts the range with them
  cache.CheckInvariants();
  next.Release();
  ASSERT_TRUE(cache.Trim().ok());
  next = NewSpan(1);
  on_their_way(next);
  next.Release();
  ASSERT_TRUE(cache.Trim().ok());
  EXPECT_EQ(mock.PhysicalBytes(), 0);
  EXPECT_TRUE(mock.mappings().empty());
}

// 4. Its best fit takes a later slot only if that is smaller than the first and large enough: never, if the first is
// too small.
TEST_F(VattentionDefects, D4ALaterRangeThatFitsIsAdopted) {
  std::byte* fits = nullptr;
  {
    const Span first = NewSpan(1);
    const Span second = NewSpan(4);
    fits = second.base();
  }
  const uint64_t maps = mock.calls(VmCall::kMap);
  const Span three = NewSpan(3);
  EXPECT_EQ(three.base(), fits);
  EXPECT_EQ(mock.calls(VmCall::kMap), maps);
}

// 5. A page is given back while the old owner's range still maps it.
TEST_F(VattentionDefects, D5AFreePageIsMappedNowhere) {
  { const Span parked = NewSpan(6); }
  Span a = NewSpan(1);
  Span b = NewSpan(6);  // takes pages away from the parked ones
  for (const auto& [address, mapping] : mock.mappings()) {
    const bool of_a = address >= a.base() && address < a.base() + a.mapped_pages() * cache.geometry().page_bytes;
    const bool of_b = address >= b.base() && address < b.base() + b.mapped_pages() * cache.geometry().page_bytes;
    EXPECT_TRUE(of_a || of_b);
  }
  EXPECT_EQ(static_cast<int64_t>(mock.mappings().size()), a.mapped_pages() + b.mapped_pages());
}

// 6. A failed call of the driver ends the process, or leaves a block half mapped.
TEST_F(VattentionDefects, D6AFailureIsAnErrorAndUndone) {
  Span span = NewSpan(1);
  for (const VmCall call : {VmCall::kCreate, VmCall::kMap}) {
    mock.FailNth(call, 1);
    EXPECT_FALSE(cache.Reserve(span, 4 * kT).ok());
    EXPECT_EQ(span.capacity_positions(), kT);
    EXPECT_EQ(span.mapped_pages(), 1);
    EXPECT_EQ(mock.mappings().size(), 1U);
    EXPECT_EQ(cache.Stats().free_pages(), 7);
    cache.CheckInvariants();
  }
  EXPECT_TRUE(cache.Reserve(span, 4 * kT).ok());
}

// 7. The pool never shrinks, and the number of slots is the batch.
TEST_F(VattentionDefects, D7MemoryGoesBack) {
  { const Span parked = NewSpan(6); }
  Span live = NewSpan(1);
  ASSERT_TRUE(cache.Trim().ok());
  EXPECT_EQ(mock.PhysicalBytes(), cache.geometry().page_bytes);
  ASSERT_TRUE(cache.Resize(2).ok());
  EXPECT_FALSE(cache.CanReserve(2));
  EXPECT_TRUE(cache.CanReserve(1));
}

}  // namespace
}  // namespace causeway::memory
