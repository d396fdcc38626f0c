// Pages that leave for a tier and come back, pages that states pin, pages from files.
#include <gtest/gtest.h>

#include "tests/support/fake_tier.h"
#include "tests/support/kv_fixtures.h"
#include "tests/support/kv_sharer.h"

namespace causeway::memory {
namespace {

constexpr int64_t kT = kTestTokensPerPage;

// 8 pages, 4 spans of up to 6 pages, with bytes. Page i of a sequence is tagged first token + i.
struct KvTiersTest : testing::Test {
  explicit KvTiersTest(bool persistent = false) : store(std::make_shared<FakeTier::Store>()) { Open(persistent); }

  void Open(bool persistent) {
    auto owned = std::make_unique<FakeTier>(TestGeometry().page_bytes, FakeTier::kAll, persistent, store);
    tier = owned.get();
    KvCacheParts parts;
    parts.tier = std::move(owned);
    MockedCache mocked = MakeMockedCache(TestCacheOptions(8, 4, 6), MockBackend::Storage::kHeap, std::move(parts));
    cache = std::move(mocked.cache);
    mock = mocked.mock;
  }
  Sharer Started(int64_t pages, Token first) {
    Sharer one(*cache, Tokens(pages * kT, first));
    EXPECT_TRUE(one.Start().ok());
    for (int64_t page = one.span.sealed_pages(); page < pages; ++page) {
      WriteTag(one.span, page, static_cast<uint64_t>(first + page));
    }
    return one;
  }
  Sharer Published(int64_t pages, Token first) {
    Sharer one = Started(pages, first);
    one.Publish();
    return one;
  }
  // A prefix that only the tier has.
  Sharer Spilled(int64_t pages, Token first) {
    Sharer one = Published(pages, first);
    one.span.Release();
    EXPECT_TRUE(cache->Sleep().ok() && cache->Wake().ok());
    EXPECT_EQ(cache->Stats().cached_pages, 0);
    return one;
  }
  void Finish() {
    for (int i = 0; i < 20; ++i) {
      cache->Poll();
    }
  }
  void ExpectTags(const Sharer& one, int64_t pages) {
    for (int64_t page = 0; page < pages; ++page) {
      EXPECT_EQ(ReadTag(one.span, page), static_cast<uint64_t>(one.tokens.front() + page));
    }
  }
  void TearDown() override { cache->CheckInvariants(); }

  std::shared_ptr<FakeTier::Store> store;
  FakeTier* tier = nullptr;
  std::unique_ptr<KvCache> cache;
  MockBackend* mock = nullptr;
};
struct KvPersistentTierTest : KvTiersTest {
  KvPersistentTierTest() : KvTiersTest(true) {}
};

// ---- Leaving ---------------------------------------------------------------------------------------

TEST_F(KvTiersTest, WhatIsEvictedIsSpilled) {
  const Sharer one = Spilled(3, 0);
  EXPECT_EQ(tier->pages(), 3);
  EXPECT_EQ(cache->Stats().spilled_pages, 3U);
  EXPECT_EQ(store->pages.at(one.keys[1]).parent, one.keys[0]);
  EXPECT_EQ(store->pages.at(one.keys[0]).parent, Digest{});
}

TEST_F(KvTiersTest, WhatIsDroppedIsCountedByReason) {
  const auto dropped = [&](DropReason reason) { return cache->Stats().dropped_pages[static_cast<size_t>(reason)]; };
  tier->set_refuses(true);
  Spilled(2, 0);
  EXPECT_EQ(dropped(DropReason::kRefused), 2U);
  tier->set_refuses(false);
  tier->set_read_rate(1);
  cache->SetComputeRate(1e9);
  Spilled(3, 100);
  EXPECT_EQ(dropped(DropReason::kNotWorth), 3U);
  EXPECT_EQ(cache->Stats().spilled_pages, 0U);
  cache->SetComputeRate(0);  // not known: moved
  mock->FailNth(VmCall::kRead, 1);
  Spilled(2, 200);
  EXPECT_EQ(dropped(DropReason::kRefused), 3U);
  EXPECT_EQ(cache->Stats().spilled_pages, 1U);
  EXPECT_EQ(dropped(DropReason::kNoTier), 0U);
}

TEST(KvWithoutTier, DropsAreCounted) {
  MockedCache mocked = MakeMockedCache(TestCacheOptions(4, 2, 4));
  Sharer one(*mocked.cache, Tokens(3 * kT, 0));
  ASSERT_TRUE(one.Start().ok());
  one.Publish();
  one.span.Release();
  EXPECT_FALSE(mocked.cache->Restore(one.Query()));
  Sharer two(*mocked.cache, Tokens(3 * kT, 100));
  ASSERT_TRUE(two.Start().ok());
  EXPECT_EQ(mocked.cache->Stats().dropped_pages[static_cast<size_t>(DropReason::kNoTier)], 2U);
  mocked.cache->Save();
}

TEST_F(KvTiersTest, ForgottenPrefixesStayInTheTier) {
  Sharer one = Spilled(2, 0);
  Published(2, 100).span.Release();
  ASSERT_TRUE(cache->DropPrefixes().ok());
  EXPECT_EQ(tier->pages(), 2);
}

TEST(WorthMoving, ComparesReadingWithComputing) {
  EXPECT_TRUE(WorthMoving(1000, 16, 0, 1000));  // not known yet
  EXPECT_TRUE(WorthMoving(1000, 16, 1000, 0));
  EXPECT_TRUE(WorthMoving(1000, 16, 1e6, 1000));     // 1 ms against 16
  EXPECT_FALSE(WorthMoving(1000, 16, 1e6, 100000));  // 1 ms against 0.16
}

// ---- Coming back -----------------------------------------------------------------------------------

TEST_F(KvTiersTest, WhatCameBackIsWhatLeft) {
  Sharer one = Spilled(3, 40);
  auto restoring = cache->Restore(one.Query());
  ASSERT_TRUE(restoring);
  EXPECT_FALSE(restoring->done());
  EXPECT_EQ(cache->Stats().moving_pages, 3);
  EXPECT_TRUE(cache->Poll());
  EXPECT_TRUE(restoring->done());
  EXPECT_EQ(restoring->pages(), 3);
  ASSERT_TRUE(one.Start().ok());
  EXPECT_EQ(one.span.sealed_pages(), 3);
  ExpectTags(one, 3);
  EXPECT_EQ(cache->Stats().live_pages, 3);
  EXPECT_EQ(cache->Stats().restored_pages, 3U);
}

TEST_F(KvTiersTest, OnlyWhatIsMissingIsRead) {
  Sharer one = Spilled(4, 0);
  Sharer begin(*cache, Tokens(2 * kT, 0));
  ASSERT_TRUE(begin.Start().ok());
  begin.Publish();
  auto restoring = cache->Restore(one.Query());
  ASSERT_TRUE(restoring);
  EXPECT_EQ(cache->Stats().moving_pages, 2);
  Finish();
  EXPECT_EQ(restoring->pages(), 4);
  EXPECT_EQ(cache->Stats().restored_pages, 2U);
}

TEST_F(KvTiersTest, PagesBehindABadOneAreLost) {
  Sharer one = Spilled(4, 0);
  tier->set_good_pages(1);
  auto restoring = cache->Restore(one.Query());
  ASSERT_TRUE(restoring);
  Finish();
  EXPECT_EQ(restoring->pages(), 1);
  EXPECT_EQ(cache->Stats().restored_pages, 1U);
  EXPECT_EQ(cache->Stats().lost_pages, 3U);
  EXPECT_EQ(cache->Stats().moving_pages, 1);
  EXPECT_EQ(cache->Stats().free_pages(), 7);
  ASSERT_TRUE(one.Start().ok());
  EXPECT_EQ(one.span.sealed_pages(), 1);
}

TEST_F(KvTiersTest, AFailedWriteIsABadPage) {
  Sharer one = Spilled(4, 0);
  auto restoring = cache->Restore(one.Query());
  mock->FailNth(VmCall::kWrite, 3);
  Finish();
  EXPECT_EQ(restoring->pages(), 2);
}

TEST_F(KvTiersTest, TheTierMayForgetWhatIsBeingRead) {
  Sharer one = Spilled(3, 0);
  auto restoring = cache->Restore(one.Query());
  tier->ForgetAll();
  Finish();
  EXPECT_EQ(restoring->pages(), 3);
  restoring.reset();
  ASSERT_TRUE(cache->DropPrefixes().ok());
  EXPECT_FALSE(cache->Restore(one.Query()));
}

TEST_F(KvTiersTest, OneThatIsGivenUpLeavesCachedPages) {
  Sharer one = Spilled(3, 0);
  { auto before = cache->Restore(one.Query()); }
  EXPECT_EQ(cache->Stats().moving_pages, 3);
  Finish();
  EXPECT_EQ(cache->Stats().moving_pages, 0);
  EXPECT_EQ(cache->Stats().cached_pages, 3);
  {
    auto nothing = cache->Restore(one.Query());
    EXPECT_FALSE(nothing);  // all is here
  }
  ASSERT_TRUE(cache->DropPrefixes().ok());
  {
    auto after = cache->Restore(one.Query());
    Finish();
    EXPECT_EQ(cache->Stats().moving_pages, 3);
  }
  EXPECT_EQ(cache->Stats().cached_pages, 3);
}

// Somebody computes the same pages while they are on their way: one of the two copies goes.
TEST_F(KvTiersTest, WhoeverIsQuickerWins) {
  Sharer one = Spilled(3, 0);
  auto restoring = cache->Restore(one.Query());
  ASSERT_TRUE(restoring);
  Sharer other = Published(2, 0);
  EXPECT_EQ(other.span.sealed_pages(), 2);
  EXPECT_EQ(cache->Stats().live_pages, 2);
  EXPECT_EQ(cache->Stats().moving_pages, 3);
  Finish();
  EXPECT_EQ(restoring->pages(), 3);
  EXPECT_EQ(cache->Stats().live_pages, 2);
  EXPECT_EQ(cache->Stats().moving_pages, 1);
  EXPECT_EQ(cache->Stats().free_pages(), 5);
  other.span.Release();
  EXPECT_EQ(cache->Stats().moving_pages, 3);  // the claim on all of them stands
}

TEST_F(KvTiersTest, NothingIsRestoredWithoutRoomOrUse) {
  Sharer one = Spilled(4, 0);
  {
    Sharer full = Started(6, 100);
    EXPECT_FALSE(cache->Restore(one.Query()));
    EXPECT_EQ(cache->Stats().moving_pages, 0);
  }
  tier->set_read_rate(1);
  cache->SetComputeRate(1e9);
  EXPECT_FALSE(cache->Restore(one.Query()));
  cache->SetComputeRate(0);
  mock->FailNth(VmCall::kCreate, 1);
  ASSERT_TRUE(cache->Trim().ok());
  EXPECT_FALSE(cache->Restore(one.Query()));
  cache->CheckInvariants();
  EXPECT_TRUE(cache->Restore(one.Query()));
}

TEST_F(KvTiersTest, RoomIsMadeForWhatComesBack) {
  Sharer one = Spilled(4, 0);
  Published(6, 100).span.Release();
  auto restoring = cache->Restore(one.Query());
  ASSERT_TRUE(restoring);
  Finish();
  EXPECT_EQ(restoring->pages(), 4);
  EXPECT_EQ(cache->Stats().cached_pages, 4);  // two of the six went
}

TEST_F(KvTiersTest, AsleepNothingComesBack) {
  Sharer one = Spilled(2, 0);
  ASSERT_TRUE(cache->Sleep().ok());
  EXPECT_FALSE(cache->Restore(one.Query()));
  const auto loading = cache->Load(one.Query(), std::make_unique<FakeSource>(std::vector<std::vector<std::byte>>(), 0));
  EXPECT_EQ(loading.error().code, ErrorCode::kFailedPrecondition);
  EXPECT_EQ(mock->PhysicalBytes(), 0);
  ASSERT_TRUE(cache->Wake().ok());
  EXPECT_TRUE(cache->Restore(one.Query()));
}

// ---- Files -----------------------------------------------------------------------------------------

std::unique_ptr<PageSource> FileOf(const Sharer& one, int64_t good = FakeTier::kAll) {
  std::vector<std::vector<std::byte>> pages(one.keys.size());
  for (size_t i = 0; i < pages.size(); ++i) {
    pages[i].resize(static_cast<size_t>(TestGeometry().page_bytes));
    const uint64_t tag = static_cast<uint64_t>(one.tokens.front()) + i;
    std::memcpy(pages[i].data() + 8, &tag, sizeof tag);
  }
  return std::make_unique<FakeSource>(std::move(pages), good);
}

TEST_F(KvTiersTest, AFileIsLoadedAsIfItHadBeenComputed) {
  Sharer one(*cache, Tokens(3 * kT, 60));
  auto loading = cache->Load(one.Query(), FileOf(one)).value();
  Finish();
  EXPECT_EQ(loading.pages(), 3);
  const PrefixPin pin = loading.TakePin();
  EXPECT_EQ(cache->Stats().pinned_pages, 3);
  ASSERT_TRUE(one.Start().ok());
  ExpectTags(one, 3);
  Sharer large(*cache, Tokens(6 * kT, 900));
  EXPECT_EQ(cache->Load(large.Query(), FileOf(large)).error().code, ErrorCode::kResourceExhausted);
}

TEST_F(KvTiersTest, AShortFileSaysSo) {
  Sharer one(*cache, Tokens(3 * kT, 60));
  auto loading = cache->Load(one.Query(), FileOf(one, 2)).value();
  Finish();
  EXPECT_EQ(loading.pages(), 2);
}

// ---- Pins ------------------------------------------------------------------------------------------

TEST_F(KvTiersTest, PinnedPagesStay) {
  Sharer one = Published(3, 0);
  PrefixPin pin = cache->PinSealed(one.span);
  EXPECT_EQ(pin.pages(), 3);
  EXPECT_EQ(cache->Stats().pinned_pages, 0);  // live counts first
  one.span.Release();
  EXPECT_EQ(cache->Stats().pinned_pages, 3);
  ASSERT_TRUE(cache->DropPrefixes().ok());
  ASSERT_TRUE(cache->Trim().ok());
  EXPECT_FALSE(cache->CanReserve(6));
  EXPECT_EQ(cache->Sleep().error().code, ErrorCode::kFailedPrecondition);
  EXPECT_EQ(cache->Resize(2).error().code, ErrorCode::kResourceExhausted);
  std::vector<std::byte> bytes(static_cast<size_t>(TestGeometry().page_bytes));
  ASSERT_TRUE(cache->ReadPage(pin.PageAt(2), bytes).ok());
  uint64_t tag = 0;
  std::memcpy(&tag, bytes.data() + 8, sizeof tag);
  EXPECT_EQ(tag, 2U);
  PrefixPin moved = std::move(pin);
  EXPECT_FALSE(pin);  // NOLINT: what is left of it
  pin = std::move(moved);
  EXPECT_EQ(cache->Stats().pinned_pages, 3);
  pin.Reset();
  EXPECT_EQ(cache->Stats().cached_pages, 3);
}

TEST_F(KvTiersTest, TwoPinsOfOnePrefixAreTwo) {
  Sharer one = Published(2, 0);
  PrefixPin a = cache->PinSealed(one.span);
  PrefixPin b = cache->PinSealed(one.span);
  one.span.Release();
  a = std::move(b);  // drops one
  EXPECT_EQ(cache->Stats().pinned_pages, 2);
  a.Reset();
  EXPECT_EQ(cache->Stats().pinned_pages, 0);
}

TEST_F(KvTiersTest, ARestoreThatIsTakenOverIsPinned) {
  Sharer one = Spilled(2, 0);
  PrefixPin pin;
  {
    auto restoring = cache->Restore(one.Query());
    Finish();
    pin = restoring->TakePin();
    EXPECT_EQ(restoring->pages(), 0);
  }
  EXPECT_EQ(cache->Stats().pinned_pages, 2);
  EXPECT_EQ(cache->Stats().moving_pages, 0);
}

// ---- Surviving -------------------------------------------------------------------------------------

TEST_F(KvPersistentTierTest, PagesAreOfferedOnceSoonAfterTheirSequence) {
  Sharer one = Started(3, 0);
  one.Publish();
  Finish();
  EXPECT_FALSE(cache->HasWork());
  EXPECT_EQ(tier->puts(), 0);  // its sequence goes on
  one.span.Release();
  EXPECT_TRUE(cache->HasWork());
  EXPECT_TRUE(cache->Poll());
  EXPECT_TRUE(tier->Has(one.keys[0]));  // parents first
  Finish();
  EXPECT_EQ(tier->puts(), 3);
  EXPECT_EQ(cache->Stats().cached_pages, 3);
  { Sharer again = Started(3, 0); }
  Finish();
  EXPECT_EQ(tier->puts(), 3);
  EXPECT_EQ(cache->Stats().spilled_pages, 0U);  // none has left
}

TEST_F(KvPersistentTierTest, APrefixOfWhatIsOfferedIsOfferedToo) {
  Sharer whole = Published(3, 0);
  Sharer part = Started(1, 0);
  whole.span.Release();  // pages 2 and 3: the first is held
  Finish();
  EXPECT_EQ(tier->pages(), 2);
  part.span.Release();
  Finish();
  EXPECT_EQ(tier->pages(), 3);
}

// A page in front of one that came from the tier: the walk from the end would stop there.
TEST_F(KvPersistentTierTest, WhatLiesInFrontOfAPageFromTheTierIsOffered) {
  Sharer one = Published(2, 0);
  one.span.Release();
  Finish();
  ASSERT_TRUE(cache->DropPrefixes().ok());
  store->pages.erase(one.keys[0]);
  Sharer begin = Published(1, 0);
  auto restoring = cache->Restore(one.Query());
  ASSERT_TRUE(restoring);
  begin.span.Release();
  Finish();
  restoring.reset();
  Finish();
  EXPECT_TRUE(tier->Has(one.keys[0]));
}

TEST_F(KvPersistentTierTest, SaveKeepsWhatIsHeldAndWhatWasRefused) {
  Sharer pinned = Published(2, 0);
  const PrefixPin pin = cache->PinSealed(pinned.span);
  pinned.span.Release();
  Sharer used = Published(1, 100);
  tier->set_refuses(true);
  Published(2, 200).span.Release();
  Finish();
  EXPECT_EQ(tier->pages(), 0);
  tier->set_refuses(false);
  tier->set_busy_until_flush(true);
  cache->Save();
  EXPECT_EQ(tier->pages(), 5);
  EXPECT_GT(tier->flushes(), 0);
}

TEST_F(KvPersistentTierTest, AnotherProcessFindsThem) {
  Published(4, 70).span.Release();
  cache->Save();
  cache.reset();
  Open(true);
  Sharer one(*cache, Tokens(4 * kT, 70));
  auto restoring = cache->Restore(one.Query());
  ASSERT_TRUE(restoring);
  Finish();
  ASSERT_TRUE(one.Start().ok());
  EXPECT_EQ(one.span.sealed_pages(), 4);
  ExpectTags(one, 4);
}

}  // namespace
}  // namespace causeway::memory
