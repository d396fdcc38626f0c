// The tiers as their user sees them: what is kept, what goes first, what a second start finds.
#include <filesystem>

#include <sys/stat.h>

#include "tests/support/tier_fixtures.h"

namespace causeway::memory {
namespace {

TEST(TierStore, HostMemoryGivesBackWhatWasPut) {
  auto store = OpenStore(TierOptions(8, 0, ""));
  const TestChain chain(1, 5);
  EXPECT_EQ(chain.Known(*store), 0);
  EXPECT_EQ(chain.PutAll(*store), 5);
  EXPECT_EQ(chain.Known(*store), 5);
  EXPECT_EQ(chain.Known(*store, 2), 3);
  EXPECT_EQ(chain.Read(*store, 1), 4);
  const PageStoreStats stats = store->Stats();
  EXPECT_EQ(stats.tier(Tier::kHost).pages, 5);
  EXPECT_EQ(stats.tier(Tier::kHost).bytes, 5 * kTierPage);
  EXPECT_EQ(stats.tier(Tier::kHost).pages_read, 4);
  EXPECT_GT(stats.tier(Tier::kHost).read_bytes_per_s, 0);
  EXPECT_EQ(stats.tier(Tier::kDisk).capacity_bytes, 0);
  EXPECT_FALSE(stats.disk_writable);
  EXPECT_FALSE(store->persistent());
  EXPECT_GT(store->ReadRate(), 0);
  store->CheckInvariants();
}

TEST(TierStore, TokensParentAndPlaceMustBeRight) {
  auto store = OpenStore(TierOptions(8, 0, ""));
  const TestChain chain(1, 3);
  chain.PutAll(*store);
  std::vector<Token> tokens(chain.tokens().begin(), chain.tokens().end());
  tokens[kTierTokens + 1] ^= 1;
  EXPECT_EQ(store->Known(chain.keys(), 0, tokens, 3), 1);
  EXPECT_EQ(store->Known(chain.keys(), 0, chain.tokens().first(2 * kTierTokens + 1), 3), 2);  // no third page of tokens
  EXPECT_EQ(store->Known(chain.keys(), 0, chain.tokens(), 2), 2);
  EXPECT_EQ(store->Known(chain.keys().subspan(1), 0, chain.tokens().subspan(kTierTokens), 3), 0);  // another place
  std::vector<Digest> keys(chain.keys().begin(), chain.keys().end());
  keys[0][5] ^= std::byte{1};
  EXPECT_EQ(store->Known(keys, 1, chain.tokens(), 3), 0);  // another parent

  PageIdentity clash = chain.Page(0);
  clash.tokens = chain.Page(1).tokens;
  EXPECT_FALSE(store->Put(clash, [](std::span<std::byte>) -> Result<void> { return {}; }));
  EXPECT_EQ(store->Stats().lost(PageLoss::kKeyClash), 1);
  EXPECT_EQ(chain.Read(*store), 3);
}

TEST(TierStore, TheLeastRecentlyUsedPageGoesFirst) {
  auto store = OpenStore(TierOptions(3, 0, ""));
  const TestChain a(1, 1), b(2, 1), c(3, 1), d(4, 1);
  a.Put(*store, 0);
  b.Put(*store, 0);
  c.Put(*store, 0);
  EXPECT_EQ(a.Read(*store), 1);   // used
  EXPECT_TRUE(b.Put(*store, 0));  // touched
  EXPECT_TRUE(d.Put(*store, 0));
  EXPECT_EQ(c.Known(*store), 0);
  EXPECT_EQ(a.Known(*store) + b.Known(*store) + d.Known(*store), 3);
  EXPECT_EQ(store->Stats().touches, 1);
  EXPECT_EQ(store->Stats().tier(Tier::kHost).evictions, 1);
}

TEST(TierStore, AChainsEndGoesBeforeItsBeginning) {
  const TestFolder folder;
  for (const bool host : {true, false}) {
    auto store = OpenStore(host ? TierOptions(5, 0, "") : TierOptions(0, 5, folder.path()));
    const TestChain chain(1, 4), other(2, 3);
    for (int64_t place = 0; place < 4; ++place) {  // its beginning first
      EXPECT_TRUE(chain.Put(*store, place));
      store->Flush();
    }
    for (int64_t place = 0; place < 3; ++place) {
      EXPECT_TRUE(other.Put(*store, place));
      store->Flush();
    }
    EXPECT_EQ(chain.Read(*store), 2);
    EXPECT_EQ(other.Read(*store), 3);
    EXPECT_EQ(chain.Read(*store, 1), 1);  // used by its end alone
    EXPECT_TRUE(TestChain(3, 1).Put(*store, 0));
    EXPECT_EQ(other.Known(*store), 2);
    EXPECT_EQ(chain.Known(*store), 2);
    store->CheckInvariants();
  }
}

TEST(TierStore, APageDoesNotPushOutTheOneInFrontOfIt) {
  auto store = OpenStore(TierOptions(3, 0, ""));
  const TestChain chain(1, 4);
  for (int64_t place = 0; place < 4; ++place) {
    EXPECT_EQ(chain.Put(*store, place), place < 3);
  }
  EXPECT_EQ(chain.Read(*store), 3);
  EXPECT_EQ(store->Stats().lost(PageLoss::kFull), 1);
}

TEST(TierStore, WhatASourceHoldsStays) {
  auto store = OpenStore(TierOptions(2, 0, ""));
  const TestChain chain(1, 2), other(2, 1);
  chain.PutAll(*store);
  auto source = store->BeginRead(chain.keys(), 0, 2);
  EXPECT_FALSE(other.Put(*store, 0));
  EXPECT_EQ(store->Stats().lost(PageLoss::kFull), 1);
  EXPECT_EQ(chain.Read(*source, 0), 2);
  EXPECT_EQ(chain.Read(*source, 0), 2);
  source = nullptr;
  EXPECT_TRUE(other.Put(*store, 0));
  EXPECT_EQ(chain.Known(*store), 1);  // its end went first
}

TEST(TierStore, APageThatCannotBeReadIsNotKept) {
  auto store = OpenStore(TierOptions(2, 0, ""));
  const TestChain chain(1, 1);
  EXPECT_FALSE(store->Put(chain.Page(0),
                          [](std::span<std::byte>) -> Result<void> { return MakeError(ErrorCode::kInternal, "no"); }));
  EXPECT_EQ(store->Stats().lost(PageLoss::kFillFailed), 1);
  EXPECT_EQ(chain.Known(*store), 0);
  EXPECT_EQ(store->Stats().tier(Tier::kHost).pages, 0);
}

TEST(TierStore, ASinkMayEndTheRead) {
  const TestFolder folder;
  auto store = OpenStore(TierOptions(0, 16, folder.path()));
  const TestChain chain(1, 12);
  EXPECT_EQ(chain.PutAll(*store), 12);
  store->Flush();
  const auto source = store->BeginRead(chain.keys(), 0, 12);
  EXPECT_EQ(source->Read([](int64_t i, std::span<const std::byte>) { return i < 3; }), 3);
  EXPECT_EQ(chain.Read(*store), 12);
}

TEST(TierStore, QuotasAndFloorsHoldInEachTier) {
  PageStoreOptions options = TierOptions(4, 0, "");
  options.tenants[1].host = {.max_bytes = 2 * kTierPage, .floor_bytes = 1};  // a part of a page is a page
  auto store = OpenStore(options);
  const TestChain one(1, 3, 1), two(2, 6, 2);
  EXPECT_EQ(one.PutAll(*store), 3);
  EXPECT_EQ(store->Stats().tier(Tier::kHost).tenant_bytes.at(1), 2 * kTierPage);
  EXPECT_EQ(one.Known(*store), 2);  // its own page went
  EXPECT_EQ(two.PutAll(*store), 6);
  EXPECT_EQ(store->Stats().tier(Tier::kHost).tenant_bytes.at(1), kTierPage);  // the floor
  EXPECT_EQ(store->Stats().tier(Tier::kHost).tenant_bytes.at(2), 3 * kTierPage);
  EXPECT_EQ(one.Known(*store), 1);
  store->CheckInvariants();

  options.tenants[1].host = {.max_bytes = 0};
  store = OpenStore(options);
  EXPECT_EQ(one.PutAll(*store), 0);
  EXPECT_EQ(store->Stats().lost(PageLoss::kQuota), 3);
}

TEST(TierStore, OptionsThatDoNotFitAreErrors) {
  const auto code = [](const PageStoreOptions& options) { return PageStore::Open(options).error().code; };
  EXPECT_EQ(code(TierOptions(0, 0, "")), ErrorCode::kInvalidArgument);
  PageStoreOptions options = TierOptions(2, 0, "");
  options.host_bytes = kTierPage - 1;
  EXPECT_EQ(code(options), ErrorCode::kInvalidArgument);
  options = TierOptions(2, 0, "");
  options.tenants[1].host.floor_bytes = 3 * kTierPage;
  EXPECT_EQ(code(options), ErrorCode::kInvalidArgument);
  options.tenants[1].host = {.max_bytes = kTierPage, .floor_bytes = 2 * kTierPage};
  EXPECT_EQ(code(options), ErrorCode::kInvalidArgument);
  options = TierOptions(2, 0, "");
  options.other_tenants.host.floor_bytes = 1;
  EXPECT_EQ(code(options), ErrorCode::kInvalidArgument);
  options = TierOptions(2, 0, "");
  options.page_bytes = 0;
  EXPECT_EQ(code(options), ErrorCode::kInvalidArgument);
}

// ---- Disk ------------------------------------------------------------------------------------------

TEST(TierDisk, SurvivesARestartWithTheOrderOfUse) {
  const TestFolder folder;
  const TestChain a(1, 3), b(2, 3), c(3, 2);
  Digest key;
  for (const int64_t host_pages : {0, 8}) {
    SCOPED_TRACE(host_pages);
    {
      auto store = OpenStore(TierOptions(host_pages, 6, folder.path() + "/" + std::to_string(host_pages)));
      key = store->prefix_key();
      EXPECT_EQ(a.PutAll(*store), 3);
      store->Flush();
      EXPECT_EQ(b.PutAll(*store), 3);
      store->Flush();
      EXPECT_EQ(a.Read(*store), 3);
    }
    auto store = OpenStore(TierOptions(host_pages, 6, folder.path() + "/" + std::to_string(host_pages)));
    EXPECT_EQ(store->prefix_key(), key);
    EXPECT_EQ(store->Stats().tier(Tier::kDisk).pages, 6);
    EXPECT_EQ(c.PutAll(*store), 2);
    store->Flush();
    EXPECT_EQ(a.Read(*store), 3);
    EXPECT_EQ(b.Read(*store), 1);  // used longest ago: its end went
    EXPECT_EQ(c.Read(*store), 2);
    EXPECT_EQ(store->Stats().corrupt, 0);
    store->CheckInvariants();
  }
}

TEST(TierDisk, FilesAreTheUsersAlone) {
  const TestFolder folder;
  const std::string path = folder.path() + "/below/tier";
  auto store = OpenStore(TierOptions(0, 4, path));
  const auto mode = [](const std::string& name) {
    struct stat status {};
    EXPECT_EQ(::stat(name.c_str(), &status), 0) << name;
    return status.st_mode & 0777;
  };
  EXPECT_EQ(mode(path), 0700U);
  for (const char* const name : {"/lock", "/index.log", "/pages.data"}) {
    EXPECT_EQ(mode(path + name), 0600U) << name;
  }
  EXPECT_EQ(std::filesystem::file_size(path + "/pages.data"), 4U * kTierPage);
}

TEST(TierDisk, OneProcessOwnsAFolder) {
  const TestFolder folder;
  auto store = OpenStore(TierOptions(0, 4, folder.path()));
  const auto second = PageStore::Open(TierOptions(0, 4, folder.path()));
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, ErrorCode::kFailedPrecondition);
  EXPECT_NE(second.error().message.find("another process uses the folder " + folder.path()), std::string::npos);
  store = nullptr;
  EXPECT_TRUE(PageStore::Open(TierOptions(0, 4, folder.path())).ok());
}

TEST(TierDisk, AFolderThatCannotBeIsAnError) {
  const TestFolder folder;
  folder.Write("file", "");
  const auto store = PageStore::Open(TierOptions(0, 4, folder.path() + "/file"));
  ASSERT_FALSE(store.ok());
  EXPECT_NE(store.error().message.find(folder.path() + "/file"), std::string::npos);
}

TEST(TierDisk, AnotherModelBeginsAfresh) {
  const TestFolder folder;
  const TestChain chain(1, 3);
  PageStoreOptions options = TierOptions(0, 4, folder.path());
  auto store = OpenStore(options);
  const Digest key = store->prefix_key();
  chain.PutAll(*store);
  store = nullptr;
  options.fingerprint[0] = std::byte{1};
  store = OpenStore(options);
  EXPECT_EQ(chain.Known(*store), 0);
  EXPECT_NE(store->prefix_key(), key);
}

TEST(TierDisk, PagesLeaveHostMemoryForTheDiskAndComeBack) {
  const TestFolder folder;
  auto store = OpenStore(TierOptions(2, 8, folder.path()));
  const TestChain chain(1, 6);
  for (int64_t place = 6; place-- > 0;) {
    EXPECT_TRUE(chain.Put(*store, place));
    store->Flush();
  }
  PageStoreStats stats = store->Stats();
  EXPECT_EQ(stats.tier(Tier::kHost).pages, 2);
  EXPECT_EQ(stats.tier(Tier::kDisk).pages, 6);
  EXPECT_EQ(stats.pages, 6);
  EXPECT_EQ(chain.Read(*store), 6);
  stats = store->Stats();
  EXPECT_EQ(stats.tier(Tier::kHost).pages_read, 2);
  EXPECT_EQ(stats.tier(Tier::kDisk).pages_read, 4);
  EXPECT_TRUE(chain.Put(*store, 5));  // lay on disk alone
  EXPECT_EQ(chain.Read(*store, 5), 1);
  EXPECT_EQ(store->Stats().tier(Tier::kHost).pages_read, 3);
  store->CheckInvariants();
}

TEST(TierDisk, PagesOfAnySizeAreRoundedUp) {
  const TestFolder folder;
  PageStoreOptions options = TierOptions(0, 0, "");
  options.page_bytes = 5000;
  options.tokens_per_page = 3;
  options.folder = folder.path();
  options.disk_bytes = 3 * 8192 + 100;
  const auto store = OpenStore(options);
  const std::vector<Token> tokens = {1, 2, 3};
  const PageIdentity page{.key = {std::byte{9}}, .parent = {}, .place = 0, .tenant = 0, .tokens = tokens};
  EXPECT_TRUE(store->Put(page, [](std::span<std::byte> bytes) -> Result<void> {
    EXPECT_EQ(bytes.size(), 5000U);
    std::fill(bytes.begin(), bytes.end(), std::byte{7});
    return {};
  }));
  store->Flush();
  EXPECT_EQ(store->Stats().tier(Tier::kDisk).capacity_bytes, 3 * 8192);
  const auto source = store->BeginRead(std::span(&page.key, 1), 0, 1);
  EXPECT_EQ(source->Read([](int64_t, std::span<const std::byte> bytes) {
    return bytes.size() == 5000U && bytes.back() == std::byte{7};
  }),
            1);
}

TEST(TierDisk, BothWaysOfTransferGiveTheSameBytes) {
  for (const bool direct : {true, false}) {
    const TestFolder folder;
    TestOps ops;  // transfers one by one
    ops.direct = direct;
    const TestChain chain(1, 20);
    auto store = OpenStore(TierOptions(0, 20, folder.path()), &ops);
    for (int64_t place = 20; place-- > 0;) {
      EXPECT_TRUE(chain.Put(*store, place));
    }
    store->Flush();
    EXPECT_EQ(chain.Read(*store), 20);
    store = nullptr;
    store = OpenStore(TierOptions(0, 20, folder.path()));  // several at a time, where the system can
    EXPECT_EQ(chain.Read(*store), 20);
  }
}

TEST(TierDisk, AQueueThatIoUringServesIsTheSameAsOneThatWaits) {
  const TestFolder folder;
  FileOps ops;
  folder.Write("file", std::string(3000, 'x'));
  const int file = ops.Open(folder.path() + "/file", O_RDWR);
  ASSERT_GE(file, 0);
  auto queue = MakeUringQueue(ops, file, 4);
  if (queue == nullptr) {
    ops.Close(file);
    GTEST_SKIP() << "this system forbids io_uring";
  }
  std::vector<std::byte> bytes(2000);
  IoRequest good{.kind = IoRequest::Kind::kRead, .offset = 1000, .bytes = bytes};
  IoRequest cut{.kind = IoRequest::Kind::kRead, .offset = 2000, .bytes = std::span(bytes).first(1500)};
  queue->Submit(good);
  queue->Wait(good);
  EXPECT_EQ(good.error, 0);
  EXPECT_EQ(bytes[1999], std::byte{'x'});
  queue->Submit(cut);
  queue->Wait(cut);
  EXPECT_EQ(cut.error, EIO);  // the file ends before
  queue = nullptr;
  ops.Close(file);
}

TEST(TierDisk, ADiskWithoutRoomGivesLessOrNothing) {
  const TestFolder folder;
  TestOps ops;
  ops.room = 5 * kTierPage;
  const TestChain chain(1, 8);
  auto store = OpenStore(TierOptions(0, 16, folder.path()), &ops);
  EXPECT_EQ(store->Stats().tier(Tier::kDisk).capacity_bytes, 4 * kTierPage);
  for (int64_t place = 8; place-- > 0;) {
    EXPECT_TRUE(chain.Put(*store, place));
    store->Flush();
  }
  EXPECT_EQ(chain.Read(*store), 4);
  ops.room = 0;
  store = OpenStore(TierOptions(2, 16, folder.path() + "/none"), &ops);
  EXPECT_FALSE(store->Stats().disk_writable);
  EXPECT_EQ(chain.PutAll(*store), 8);
  EXPECT_EQ(chain.Read(*store), 2);  // the host tier does without
  store->Flush();
  store = nullptr;
  store = OpenStore(TierOptions(0, 16, folder.path() + "/none"), &ops);
  EXPECT_EQ(chain.PutAll(*store), 0);
  EXPECT_EQ(store->Stats().lost(PageLoss::kDiskFailed), 8);
}

TEST(TierDisk, ASmallerLimitKeepsWhatFits) {
  const TestFolder folder;
  const TestChain chain(1, 8);
  auto store = OpenStore(TierOptions(0, 8, folder.path()));
  EXPECT_EQ(chain.PutAll(*store), 8);
  store = nullptr;
  store = OpenStore(TierOptions(0, 5, folder.path()));
  EXPECT_EQ(store->Stats().tier(Tier::kDisk).pages, 5);
  EXPECT_EQ(std::filesystem::file_size(folder.path() + "/pages.data"), 5U * kTierPage);
  store = nullptr;
  store = OpenStore(TierOptions(0, 8, folder.path()));
  EXPECT_EQ(store->Stats().tier(Tier::kDisk).pages, 5);
  for (int64_t place = 0; place < 8; ++place) {
    chain.Read(*store, place);
  }
  EXPECT_EQ(store->Stats().corrupt, 0);
}

TEST(TierDisk, QuotasHoldAfterARestart) {
  const TestFolder folder;
  const TestChain one(1, 4, 1), two(2, 3, 2);
  PageStoreOptions options = TierOptions(0, 8, folder.path());
  auto store = OpenStore(options);
  EXPECT_EQ(one.PutAll(*store) + two.PutAll(*store), 7);
  store = nullptr;
  options.tenants[1].disk.max_bytes = 2 * kTierPage;
  store = OpenStore(options);
  EXPECT_EQ(one.Read(*store), 2);
  EXPECT_EQ(two.Read(*store), 3);
  store->CheckInvariants();
}

TEST(TierDisk, ASlowDiskRefusesAndNeverWaits) {
  const TestFolder folder;
  TestOps ops;
  const TestChain chain(1, 100);
  auto store = OpenStore(TierOptions(0, 200, folder.path()), &ops);
  ops.ShutGate(true);
  const int64_t taken = chain.PutAll(*store);
  EXPECT_LT(taken, 100);
  EXPECT_GT(taken, 0);
  EXPECT_EQ(store->Stats().lost(PageLoss::kQueueFull), 100 - taken);
  EXPECT_EQ(chain.Read(*store, 100 - taken), taken);  // from memory
  ops.ShutGate(false);
  store->Flush();
  EXPECT_EQ(chain.Read(*store, 100 - taken), taken);  // from disk
  EXPECT_EQ(store->Stats().queued_writes, 0);
  store->CheckInvariants();

  store = OpenStore(TierOptions(50, 200, folder.path() + "/host"), &ops);
  ops.ShutGate(true);
  for (uint64_t name = 0; name < 100; ++name) {
    EXPECT_TRUE(TestChain(name, 1).Put(*store, 0));  // host memory takes them all, and loses some
  }
  EXPECT_GT(store->Stats().lost(PageLoss::kUnwritten), 0);
  ops.ShutGate(false);
  store->Flush();
  EXPECT_EQ(store->Stats().queued_writes, 0);
  store->CheckInvariants();
}

TEST(TierPolicy, ReadingMustBeFasterThanComputing) {
  constexpr int64_t kMiB = int64_t{1} << 20;
  EXPECT_TRUE(WorthMoving(2 * kMiB, 16, 1e9, 1000));    // 2 ms against 16 ms
  EXPECT_FALSE(WorthMoving(2 * kMiB, 16, 1e9, 10000));  // against 1.6 ms
  EXPECT_FALSE(WorthMoving(1000, 16, 1000, 16));        // a draw is not worth the write
  EXPECT_TRUE(WorthMoving(2 * kMiB, 16, 0, 1e9));       // not measured yet
  EXPECT_TRUE(WorthMoving(2 * kMiB, 16, 1, 0));
}

}  // namespace
}  // namespace causeway::memory
