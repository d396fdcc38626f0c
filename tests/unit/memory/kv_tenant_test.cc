// What tenants may have of a cache: floors, quotas, and whose page goes first.
#include <gtest/gtest.h>

#include "tests/support/kv_fixtures.h"
#include "tests/support/kv_sharer.h"

namespace causeway::memory {
namespace {

constexpr int64_t kT = kTestTokensPerPage;
constexpr TenantId kFree = 0;     // no limits
constexpr TenantId kFloored = 1;  // keeps 2 cached pages
constexpr TenantId kBounded = 2;  // has at most 4 pages

KvCacheOptions TenantOptions() {
  KvCacheOptions options = TestCacheOptions(8, 5, 8);
  options.tenants = {{.name = "free"}, {.name = "floored", .floor_pages = 2}, {.name = "bounded", .quota_pages = 4}};
  return options;
}

struct KvTenantTest : testing::Test {
  MockedCache mocked = MakeMockedCache(TenantOptions());
  KvCache& cache = *mocked.cache;

  Sharer Started(TenantId tenant, int64_t pages, Token first) {
    Sharer one(cache, Tokens(pages * kT, first), tenant);
    EXPECT_TRUE(one.Start().ok());
    return one;
  }
  // Leaves that many cached pages.
  void Cached(TenantId tenant, int64_t pages, Token first) {
    Sharer one = Started(tenant, pages, first);
    one.Publish();
  }
  int64_t CachedOf(TenantId tenant) const { return cache.TenantStats(tenant)[PageClass::kCached]; }
  void TearDown() override { cache.CheckInvariants(); }
};

TEST_F(KvTenantTest, PagesAreChargedToWhoeverHasThem) {
  Cached(kFloored, 3, 0);
  const Sharer one = Started(kBounded, 2, 500);
  EXPECT_EQ(CachedOf(kFloored), 3);
  EXPECT_EQ(cache.TenantStats(kBounded)[PageClass::kLive], 2);
  EXPECT_EQ(cache.TenantStats(kFree).total(), 0);
  EXPECT_EQ(cache.Stats().free_pages(), 3);
}

TEST_F(KvTenantTest, OthersDoNotTakeWhatLiesBelowTheFloor) {
  Cached(kFloored, 4, 0);
  EXPECT_TRUE(cache.CanReserve(6, kFree));
  EXPECT_FALSE(cache.CanReserve(7, kFree));
  EXPECT_TRUE(cache.CanReserve(8, kFloored));  // its own may go
  Sharer more(cache, Tokens(7 * kT, 500), kFree);
  EXPECT_EQ(more.Start().error().code, ErrorCode::kResourceExhausted);
  more.span.Release();
  const Sharer fits = Started(kFree, 6, 500);
  EXPECT_EQ(CachedOf(kFloored), 2);
}

TEST_F(KvTenantTest, AFloorIsMetByPagesInUseToo) {
  Cached(kFloored, 3, 0);
  const Sharer used = Started(kFloored, 2, 700);
  EXPECT_TRUE(cache.CanReserve(6, kFree));  // 3 free and all 3 cached: 2 in use are the floor
  const Sharer other = Started(kFree, 6, 500);
  EXPECT_EQ(CachedOf(kFloored), 0);
}

TEST_F(KvTenantTest, AQuotaEndsInTheTenantsOwnPages) {
  Cached(kFree, 2, 0);
  Cached(kBounded, 3, 500);
  Sharer one = Started(kBounded, 3, 800);  // 4 at most: 2 of its own 3 go, though others are older and pages are free
  EXPECT_EQ(CachedOf(kBounded), 1);
  EXPECT_EQ(CachedOf(kFree), 2);
  EXPECT_EQ(cache.TenantStats(kBounded).charged(), 4);
  EXPECT_FALSE(cache.CanReserve(2, kBounded));
  const auto refused = cache.Reserve(one.span, 5 * kT);
  EXPECT_EQ(refused.error().code, ErrorCode::kResourceExhausted);
  EXPECT_NE(refused.error().message.find("bounded"), std::string::npos);
  EXPECT_NE(refused.error().message.find("quota"), std::string::npos);
  EXPECT_EQ(one.span.capacity_positions(), 3 * kT);
  EXPECT_TRUE(cache.CanReserve(1, kBounded));
  EXPECT_TRUE(cache.Reserve(one.span, 4 * kT).ok());
}

// Whose page was used longest ago, whoever it is.
TEST_F(KvTenantTest, TheLeastRecentlyUsedGoesAcrossTenants) {
  Cached(kFree, 2, 0);
  Cached(kBounded, 2, 500);
  Cached(kFree, 2, 1000);
  { const Sharer again = Started(kFree, 2, 0); }  // now the second family is the oldest
  const Sharer taker = Started(kFloored, 4, 2000);
  EXPECT_EQ(CachedOf(kBounded), 0);
  EXPECT_EQ(CachedOf(kFree), 4);
}

TEST_F(KvTenantTest, ParkedAndFreePagesAreNobodys) {
  { const Sharer one = Started(kBounded, 4, 0); }  // not published: parked
  EXPECT_EQ(cache.TenantStats(kBounded).charged(), 0);
  EXPECT_EQ(cache.Stats().parked_pages, 4);
  const Sharer other = Started(kFree, 8, 500);
  EXPECT_EQ(cache.TenantStats(kFree)[PageClass::kLive], 8);
}

// The same keys, as if two tenants' roots were one: nothing is shared, and nobody dies of it.
TEST_F(KvTenantTest, TenantsShareNothing) {
  Sharer one = Started(kFree, 2, 0);
  one.Publish();
  Sharer other = Started(kFloored, 2, 0);
  EXPECT_EQ(other.span.sealed_pages(), 0);
  other.Publish();
  EXPECT_EQ(other.span.sealed_pages(), 0);
  EXPECT_EQ(cache.TenantStats(kFree)[PageClass::kLive], 2);
  EXPECT_EQ(cache.TenantStats(kFloored)[PageClass::kLive], 2);
}

TEST(KvTenant, RefusesLimitsThatCannotBe) {
  const auto refusal = [](std::vector<TenantLimits> tenants) {
    KvCacheOptions options = TestCacheOptions(8, 2, 2);
    options.tenants = std::move(tenants);
    auto backend = std::make_unique<MockBackend>(VmOptions{options.geometry.page_bytes, options.max_pages});
    const auto cache = KvCache::Create(options, std::move(backend));
    return cache.ok() ? std::string("accepted") : cache.error().message;
  };
  EXPECT_EQ(refusal({{.name = "a", .floor_pages = 4}, {.name = "b", .floor_pages = 4}}), "accepted");
  EXPECT_NE(refusal({{.name = "a", .floor_pages = 5}, {.name = "b", .floor_pages = 4}}).find("floors"),
            std::string::npos);
  EXPECT_NE(refusal({{.name = "a", .floor_pages = 3, .quota_pages = 2}}).find("tenant a"), std::string::npos);
  EXPECT_NE(refusal({{.name = "a", .floor_pages = -1}}), "accepted");
  EXPECT_NE(refusal({{.name = "a", .quota_pages = 0}}), "accepted");
  EXPECT_NE(refusal({{.name = "a", .floor_pages = INT64_MAX}, {.name = "b", .floor_pages = INT64_MAX}}), "accepted");
  EXPECT_NE(refusal(std::vector<TenantLimits>(kMaxTenants + 1)).find("tenants"), std::string::npos);
}

}  // namespace
}  // namespace causeway::memory
