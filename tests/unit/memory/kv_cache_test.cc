#include "memory/kv_cache.h"

#include <gtest/gtest.h>

#include "tests/support/kv_fixtures.h"

namespace causeway::memory {
namespace {

constexpr int64_t kT = kTestTokensPerPage;

struct KvCacheTest : testing::Test {
  // 8 pages, 3 spans of up to 6 pages.
  MockedCache mocked = MakeMockedCache(TestCacheOptions(8, 3, 6));
  KvCache& cache = *mocked.cache;
  MockBackend& mock = *mocked.mock;

  Span NewSpan(int64_t pages) {
    Span span = cache.CreateSpan(pages * kT).value();
    EXPECT_TRUE(cache.Reserve(span, pages * kT).ok());
    return span;
  }
  void TearDown() override {
    cache.CheckInvariants();
    EXPECT_EQ(mock.PhysicalBytes(), cache.Stats().created_pages * cache.Stats().page_bytes);
  }
};

TEST_F(KvCacheTest, ReservesWholePagesAndWastesLessThanOne) {
  Span span = cache.CreateSpan(1).value();
  EXPECT_EQ(span.capacity_positions(), 0);
  ASSERT_TRUE(cache.Reserve(span, 1).ok());
  EXPECT_EQ(span.capacity_positions(), kT);
  ASSERT_TRUE(cache.Reserve(span, kT).ok());
  EXPECT_EQ(cache.Stats().live_pages, 1);
  ASSERT_TRUE(cache.Reserve(span, kT + 1).ok());
  EXPECT_EQ(cache.Stats().live_pages, 2);
  EXPECT_EQ(cache.Stats().map_calls, 2U);
}

TEST_F(KvCacheTest, SpansDoNotOverlap) {
  Span a = NewSpan(1);
  Span b = NewSpan(1);
  EXPECT_GE(std::abs(a.base() - b.base()), 6 * cache.geometry().page_bytes);
}

TEST_F(KvCacheTest, AFreedSpanIsAdoptedWholeWithoutACall) {
  { const Span span = NewSpan(4); }
  EXPECT_EQ(cache.Stats().parked_pages, 4);
  const Span again = NewSpan(4);
  EXPECT_EQ(cache.Stats().live_pages, 4);
  EXPECT_EQ(mock.calls(VmCall::kMap), 1U);
  EXPECT_EQ(mock.calls(VmCall::kUnmap), 0U);
}

// The steady state: sequences of like lengths come, grow and go; nothing is mapped or unmapped any more.
TEST_F(KvCacheTest, SteadyStateMakesNoMappingCalls) {
  const auto round = [&] {
    Span a = NewSpan(1);
    Span b = NewSpan(2);
    for (int64_t positions = 1; positions <= 4 * kT; ++positions) {
      ASSERT_TRUE(cache.Reserve(a, std::max(positions, kT)).ok());
      ASSERT_TRUE(cache.Reserve(b, std::max(positions, 2 * kT)).ok());
    }
  };
  round();
  const uint64_t warm = mock.calls(VmCall::kMap) + mock.calls(VmCall::kUnmap) + mock.calls(VmCall::kCreate);
  for (int i = 0; i < 50; ++i) {
    round();
  }
  EXPECT_EQ(mock.calls(VmCall::kMap) + mock.calls(VmCall::kUnmap) + mock.calls(VmCall::kCreate), warm);
}

TEST_F(KvCacheTest, AdoptsTheBestFit) {
  std::byte* bases[3];
  {
    const Span a = NewSpan(1);
    const Span b = NewSpan(4);
    const Span c = NewSpan(2);
    bases[0] = a.base();
    bases[1] = b.base();
    bases[2] = c.base();
  }
  const Span two = NewSpan(2);
  EXPECT_EQ(two.base(), bases[2]);  // fits exactly
  const Span five = NewSpan(5);
  EXPECT_EQ(five.base(), bases[1]);  // nothing fits: the one that holds most
  const Span rest = NewSpan(1);
  EXPECT_EQ(rest.base(), bases[0]);
}

// A short sequence in a long parked range pays for what it uses; the rest stays up for taking.
TEST_F(KvCacheTest, ChargesForPagesInUseOnly) {
  { const Span span = NewSpan(6); }
  Span shorter = NewSpan(1);
  EXPECT_EQ(cache.Stats().live_pages, 1);
  EXPECT_EQ(cache.Stats().parked_pages, 5);
  EXPECT_TRUE(cache.CanReserve(7));
  Span longer = NewSpan(6);  // 2 free pages and 4 of the surplus
  EXPECT_EQ(cache.Stats().live_pages, 7);
  EXPECT_EQ(shorter.mapped_pages(), 2);
  EXPECT_EQ(shorter.capacity_positions(), kT);
}

TEST_F(KvCacheTest, TakesParkedPagesWhenPagesRunOut) {
  { const Span parked = NewSpan(5); }
  Span a = cache.CreateSpan(1).value();  // adopts the parked range; keeps one page of it
  ASSERT_TRUE(cache.Reserve(a, kT).ok());
  Span b = NewSpan(6);
  EXPECT_EQ(cache.Stats().live_pages, 7);
  EXPECT_EQ(cache.Stats().created_pages, 8);
}

TEST_F(KvCacheTest, AllOrNothing) {
  Span a = NewSpan(5);
  Span b = NewSpan(2);
  const auto refused = cache.Reserve(b, 4 * kT);
  EXPECT_EQ(refused.error().code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(b.capacity_positions(), 2 * kT);
  EXPECT_EQ(b.mapped_pages(), 2);
  EXPECT_TRUE(cache.Reserve(b, 3 * kT).ok());
}

TEST_F(KvCacheTest, AFailedReserveKeepsWhatItHadAdopted) {
  { const Span parked = NewSpan(3); }
  Span a = cache.CreateSpan(kT).value();
  Span b = NewSpan(5);
  EXPECT_FALSE(cache.Reserve(a, 4 * kT).ok());
  EXPECT_EQ(a.capacity_positions(), 0);
  EXPECT_EQ(cache.Stats().parked_pages, 3);
  EXPECT_TRUE(cache.Reserve(a, 3 * kT).ok());
}

TEST_F(KvCacheTest, RefusesMoreSpansThanSlots) {
  Span spans[3] = {NewSpan(1), NewSpan(1), NewSpan(1)};
  EXPECT_EQ(cache.CreateSpan(1).error().code, ErrorCode::kResourceExhausted);
  spans[1].Release();
  EXPECT_TRUE(cache.CreateSpan(1).ok());
}

TEST_F(KvCacheTest, TrimKeepsLivePages) {
  Span kept = NewSpan(2);
  { const Span gone = NewSpan(4); }
  ASSERT_TRUE(cache.Trim().ok());
  EXPECT_EQ(cache.Stats().created_pages, 2);
  EXPECT_EQ(cache.Stats().parked_pages, 0);
  EXPECT_EQ(kept.capacity_positions(), 2 * kT);
  EXPECT_TRUE(cache.Reserve(kept, 6 * kT).ok());
}

TEST_F(KvCacheTest, MovingASpanReleasesTheOneItReplaces) {
  Span a = NewSpan(1);
  a = NewSpan(2);
  EXPECT_EQ(cache.Stats().live_pages, 2);
  EXPECT_EQ(cache.Stats().parked_pages, 1);
}

// Two runs (one for each span) fit; a third mapping has to wait until a parked one is shed.
TEST_F(KvCacheTest, StaysUnderTheSystemsLimitOfMappings) {
  mock.set_max_mappings(2 * 3 + 2);  // two are kept back for each of the 3 ranges
  Span a = NewSpan(1);
  Span b = NewSpan(1);
  EXPECT_EQ(cache.Stats().mappings, 2);
  Span c = cache.CreateSpan(kT).value();
  const auto refused = cache.Reserve(c, kT);
  EXPECT_EQ(refused.error().code, ErrorCode::kResourceExhausted);
  EXPECT_NE(refused.error().message.find("max_map_count"), std::string::npos);
  EXPECT_EQ(cache.Stats().live_pages, 2);
  b.Release();
  EXPECT_TRUE(cache.Reserve(c, kT).ok());
  EXPECT_EQ(cache.Stats().mappings, 2);
}

// What a sequence adopted and does not count on goes too, for want of mappings as for want of pages.
TEST_F(KvCacheTest, ShedsTheSurplusOfRangesInUse) {
  Span a = NewSpan(1);
  Span b = NewSpan(1);
  ASSERT_TRUE(cache.Reserve(a, 2 * kT).ok());  // page 2 behind page 0: a run of its own
  a.Release();
  a = NewSpan(1);  // adopts both pages, counts on one
  EXPECT_EQ(cache.Stats().mappings, 3);
  mock.set_max_mappings(2 * 3 + 3);
  Span c = NewSpan(1);
  EXPECT_EQ(a.mapped_pages(), 1);
  EXPECT_EQ(cache.Stats().mappings, 3);
}

TEST(KvCache, RefusesOptionsThatCannotBe) {
  const auto create = [](const KvCacheOptions& options, int64_t max_mappings = 1 << 20) {
    auto mock = std::make_unique<MockBackend>(VmOptions{options.geometry.page_bytes, options.max_pages});
    mock->set_max_mappings(max_mappings);
    const auto cache = KvCache::Create(options, std::move(mock));
    return cache.ok() ? std::string("accepted") : cache.error().message;
  };
  KvCacheOptions options = TestCacheOptions(8, 3, 6);
  EXPECT_EQ(create(options), "accepted");
  EXPECT_NE(create(options, 6).find("max_map_count"), std::string::npos);
  options.max_pages = 0;
  EXPECT_NE(create(options), "accepted");
  options = TestCacheOptions(8, 3, 6);
  options.geometry.page_bytes = 1000;
  EXPECT_NE(create(options).find("multiple"), std::string::npos);
  options = TestCacheOptions(8, 1 << 16, int64_t{1} << 40);
  EXPECT_NE(create(options).find("address space"), std::string::npos);
  options = TestCacheOptions(8, 3, 6);
  options.max_spans = int64_t{1} << 40;
  EXPECT_NE(create(options), "accepted");
  options = TestCacheOptions(8, 3, 6);
  options.positions_per_span = INT64_MAX;
  EXPECT_NE(create(options).find("address space"), std::string::npos);
}

TEST(KvCacheDeathTest, ASpanMustNotOutliveItsCache) {
  EXPECT_DEATH(
      {
        MockedCache mocked = MakeMockedCache(TestCacheOptions(2, 1, 2));
        Span span = mocked.cache->CreateSpan(1).value();
        mocked.cache.reset();
      },
      "outlives");
}

}  // namespace
}  // namespace causeway::memory
