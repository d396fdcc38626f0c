// The tiers when things break: a killed process, a torn index, flipped bits, calls that fail. A page that is found must
// have the bytes that were put, whatever happened.
#include <thread>

#include "tests/support/run_scale.h"
#include "tests/support/tier_fixtures.h"

namespace causeway::memory {
namespace {

// Copies the files of a closed store.
void CopyStore(const TestFolder& from, const TestFolder& to) {
  for (const char* const name : {"index.log", "pages.data"}) {
    to.Write(name, from.Read(name));
  }
}

TEST(TierCrash, ATornIndexKeepsWhatIsInFrontOfTheTear) {
  const QuickFolder whole;
  TestOps ops;
  const TestChain chain(1, 6);
  {
    auto store = OpenStore(TierOptions(0, 8, whole.path()), &ops);
    for (int64_t place = 0; place < 6; ++place) {
      chain.Put(*store, place);
    }
    store->Flush();
    ops.DieAt(1);  // or the end would write the index anew, ordered by extent
  }
  ops.Mend();
  const std::string log = whole.Read("index.log");
  const QuickFolder torn;
  CopyStore(whole, torn);
  int64_t last = 0;
  for (size_t bytes = 0; bytes <= log.size(); ++bytes) {
    torn.Write("index.log", log.substr(0, bytes));
    ops.Mend();
    auto store = OpenStore(TierOptions(0, 8, torn.path()), &ops);
    const int64_t known = chain.Read(*store);
    EXPECT_GE(known, last) << bytes;
    EXPECT_EQ(known, store->Stats().tier(Tier::kDisk).pages) << bytes;
    EXPECT_EQ(store->Stats().corrupt, 0) << bytes;
    last = known;
    ops.DieAt(1);
  }
  EXPECT_EQ(last, 6);
}

// What lies behind a damaged record must not come back once others are written in its place.
TEST(TierCrash, WhatWasCutOffStaysAway) {
  const QuickFolder folder;
  TestOps ops;
  const TestChain chain(1, 6), other(2, 1);
  auto store = OpenStore(TierOptions(0, 8, folder.path()), &ops);
  for (int64_t place = 0; place < 6; ++place) {
    chain.Put(*store, place);
  }
  store->Flush();
  ops.DieAt(1);
  store = nullptr;
  ops.Mend();
  std::string log = folder.Read("index.log");
  log[log.size() / 2] = static_cast<char>(log[log.size() / 2] ^ 1);
  folder.Write("index.log", log);
  store = OpenStore(TierOptions(0, 8, folder.path()), &ops);
  const int64_t left = store->Stats().tier(Tier::kDisk).pages;
  EXPECT_LT(left, 5);
  EXPECT_TRUE(other.Put(*store, 0));
  store->Flush();
  ops.DieAt(1);
  store = nullptr;
  ops.Mend();
  store = OpenStore(TierOptions(0, 8, folder.path()), &ops);
  EXPECT_EQ(store->Stats().tier(Tier::kDisk).pages, left + 1);
  EXPECT_EQ(chain.Read(*store), left);
  EXPECT_EQ(other.Read(*store), 1);
}

TEST(TierCrash, AChangedByteIsFoundWhereverItIs) {
  const QuickFolder whole;
  TestOps ops;
  const TestChain chain(1, 4);
  {
    auto store = OpenStore(TierOptions(0, 4, whole.path()), &ops);
    chain.PutAll(*store);
  }
  const QuickFolder changed;
  for (const std::string name : {"index.log", "pages.data"}) {
    const std::string bytes = whole.Read(name);
    const size_t stride = name == "index.log" ? 1 : kQuickBuild ? 31 : 311;
    for (size_t at = 0; at < bytes.size(); at += stride) {
      CopyStore(whole, changed);
      std::string other = bytes;
      other[at] = static_cast<char>(other[at] ^ 0x10);
      changed.Write(name, other);
      auto store = OpenStore(TierOptions(0, 4, changed.path()), &ops);
      const int64_t known = chain.Known(*store);
      const int64_t read = chain.Read(*store);  // checks the bytes
      EXPECT_LT(read, 4) << name << " byte " << at;
      if (read < known) {
        EXPECT_EQ(store->Stats().corrupt, 1);
        EXPECT_EQ(chain.Known(*store), read);  // and it is not known any more
        EXPECT_EQ(chain.PutAll(*store), 4);
        store->Flush();
        EXPECT_EQ(chain.Read(*store), 4);  // but can be put again
      }
      store->CheckInvariants();
    }
  }
}

// What a test does with a store: more pages than fit, with reads in between. Every page that is read is checked.
void Work(PageStore& store) {
  for (uint64_t round = 0; round < 3; ++round) {
    for (uint64_t name = 0; name < 3; ++name) {
      const TestChain chain(name + round, 4, static_cast<TenantId>(name));
      chain.PutAll(store);
      chain.Read(store);
    }
    store.Flush();
    store.CheckInvariants();
  }
}

// Everything that a store knows has the bytes that were put.
int64_t ReadEverything(PageStore& store) {
  int64_t read = 0;
  for (uint64_t name = 0; name < 5; ++name) {
    for (TenantId tenant = 0; tenant < 3; ++tenant) {
      const TestChain chain(name, 4, tenant);
      for (int64_t place = 0; place < 4; ++place) {
        read += chain.Read(store, place) > 0 ? 1 : 0;
      }
    }
  }
  return read;
}

TEST(TierCrash, AKilledProcessLeavesAnIndexThatNamesOnlyWhatIsThere) {
  for (const int64_t host_pages : {0, 4}) {
    int64_t deaths = 0;
    for (int64_t at = 1;; ++at) {
      SCOPED_TRACE(testing::Message() << "killed in call " << at << ", host pages " << host_pages);
      const QuickFolder folder;
      TestOps ops;
      const TestChain first(100, 3, 9);
      auto store = OpenStore(TierOptions(host_pages, 8, folder.path()), &ops);
      first.PutAll(*store);
      store->Flush();
      ops.DieAt(at);
      Work(*store);
      store = nullptr;
      if (!ops.failed()) {
        break;
      }
      ++deaths;
      ops.Mend();
      store = OpenStore(TierOptions(host_pages, 8, folder.path()), &ops);
      ReadEverything(*store);
      first.Read(*store);
      EXPECT_EQ(store->Stats().corrupt, 0);
      EXPECT_LE(store->Stats().tier(Tier::kDisk).pages, 8);
      store->CheckInvariants();
    }
    EXPECT_GT(deaths, 20);
  }
}

TEST(TierCrash, WhatWasFlushedSurvivesAKill) {
  for (int64_t at = 1; at < 40; ++at) {
    const QuickFolder folder;
    TestOps ops;
    const TestChain first(100, 3, 9);
    auto store = OpenStore(TierOptions(0, 64, folder.path()), &ops);
    first.PutAll(*store);
    store->Flush();
    ops.DieAt(at);
    Work(*store);
    store = nullptr;
    ops.Mend();
    store = OpenStore(TierOptions(0, 64, folder.path()), &ops);
    EXPECT_EQ(first.Read(*store), 3) << "killed in call " << at;
  }
}

TEST(TierFaults, AnyCallMayFailOnce) {
  int64_t refused = 0;
  int64_t healed = 0;
  for (int64_t at = 1;; ++at) {
    SCOPED_TRACE(testing::Message() << "call " << at << " fails");
    const QuickFolder folder;
    TestOps ops;
    ops.FailAt(at);
    const TestChain chain(50, 2);
    bool put = false;
    auto store = PageStore::Open(TierOptions(4, 8, folder.path()), &ops);
    if (store.ok()) {
      Work(**store);
      // The disk is used again: the fault was one.
      if ((*store)->Stats().tier(Tier::kDisk).capacity_bytes > 0 && ops.failed()) {
        ++healed;
        EXPECT_TRUE((*store)->Stats().disk_writable);
        chain.PutAll(**store);
        (*store)->Flush();
        put = true;
      }
    } else {
      ++refused;
      EXPECT_NE(store.error().message.find(folder.path()), std::string::npos) << store.error().message;
    }
    const bool done = !ops.failed();
    ops.DieAt(1);  // or the end would write the index anew
    store = MakeError(ErrorCode::kInternal, "closed");
    ops.Mend();
    auto again = OpenStore(TierOptions(4, 8, folder.path()), &ops);
    ReadEverything(*again);
    EXPECT_TRUE(!put || chain.Read(*again) == 2);
    EXPECT_EQ(again->Stats().corrupt, 0);
    if (done) {
      break;
    }
  }
  EXPECT_GT(refused, 0);
  EXPECT_GT(healed, 20);
}

TEST(TierFaults, ADiskThatAlwaysFailsIsLeftAlone) {
  const QuickFolder folder;
  TestOps ops;
  PageStoreOptions options = TierOptions(4, 64, folder.path());
  options.disk_pause = std::chrono::hours(1);
  auto store = OpenStore(options, &ops);
  const TestChain kept(200, 2);
  kept.PutAll(*store);
  store->Flush();
  ops.DieAt(1);
  for (int round = 0; round < 4; ++round) {
    Work(*store);
  }
  PageStoreStats stats = store->Stats();
  EXPECT_FALSE(stats.disk_writable);
  EXPECT_EQ(stats.write_errors, 16);
  EXPECT_GT(stats.lost(PageLoss::kDiskFailed), 0);
  ops.Mend();
  EXPECT_EQ(kept.Read(*store), 2);  // what is there is still read
  const TestChain more(300, 4);
  EXPECT_EQ(more.PutAll(*store), 4);
  EXPECT_EQ(more.Read(*store), 4);  // the host tier goes on
  store->Flush();
  store->CheckInvariants();
}

TEST(TierFaults, ADiskThatWorksAgainIsUsedAgain) {
  const QuickFolder folder;
  TestOps ops;
  PageStoreOptions options = TierOptions(0, 64, folder.path());
  options.disk_pause = std::chrono::milliseconds(1);
  auto store = OpenStore(options, &ops);
  ops.DieAt(1);
  while (store->Stats().disk_writable) {
    Work(*store);
  }
  ops.Mend();
  while (!store->Stats().disk_writable) {
    std::this_thread::yield();
  }
  const TestChain chain(1, 4);
  EXPECT_EQ(chain.PutAll(*store), 4);
  store->Flush();
  EXPECT_EQ(chain.Read(*store), 4);
  store = nullptr;
  store = OpenStore(options, &ops);
  EXPECT_EQ(chain.Read(*store), 4);
}

TEST(TierFaults, ADiskThatCannotBeReadIsNotKnown) {
  const QuickFolder folder;
  TestOps ops;
  auto store = OpenStore(TierOptions(0, 8, folder.path()), &ops);
  const TestChain chain(1, 4);
  chain.PutAll(*store);
  store->Flush();
  ops.bad_reads = true;
  EXPECT_EQ(chain.Read(*store), 0);
  EXPECT_EQ(store->Stats().read_errors, 1);
  EXPECT_EQ(chain.Known(*store), 0);
  ops.bad_reads = false;
  EXPECT_EQ(chain.Read(*store, 1), 3);
  store->CheckInvariants();
}

}  // namespace
}  // namespace causeway::memory
