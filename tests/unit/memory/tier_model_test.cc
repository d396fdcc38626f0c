// The tiers against a naive model, and with threads beside each other.
#include <map>
#include <set>
#include <thread>

#include "base/bounded_queue.h"
#include "tests/support/run_scale.h"
#include "tests/support/tier_fixtures.h"

namespace causeway::memory {
namespace {

constexpr uint64_t kChains = 6;
constexpr int64_t kChainPages = 5;

// Random work on a store, beside what must be true of it.
class Random {
 public:
  Random(uint64_t seed, int64_t host_pages, int64_t disk_pages)
      : seed_(seed), options_(TierOptions(host_pages, disk_pages, folder_.path())) {
    options_.tenants[1].host = {.max_bytes = 3 * kTierPage};
    options_.tenants[1].disk = {.max_bytes = 4 * kTierPage};
    options_.tenants[2].host.floor_bytes = std::min<int64_t>(host_pages, 2) * kTierPage;
    options_.tenants[2].disk.floor_bytes = std::min<int64_t>(disk_pages, 2) * kTierPage;
    for (uint64_t name = 0; name < kChains; ++name) {
      chains_.emplace_back(name, kChainPages, static_cast<TenantId>(name % 3));
    }
    store_ = OpenStore(options_, &ops_);
  }

  void Step() {
    const TestChain& chain = chains_[Draw(kChains)];
    const auto place = static_cast<int64_t>(Draw(kChainPages));
    switch (Draw(12)) {
      case 0: return store_->Flush();
      case 1: return Reopen();
      case 2:
      case 3: return Hold(chain, place);
      case 4: return held_.clear();
      case 5:
      case 6: chain.Read(*store_, place); return;
      case 7: chain.PutAll(*store_); return;
      default: return Put(chain, place);
    }
  }

  void Check() const {
    store_->CheckInvariants();
    const PageStoreStats stats = store_->Stats();
    for (const Tier tier : {Tier::kHost, Tier::kDisk}) {
      const TierStats& now = stats.tier(tier);
      ASSERT_LE(now.bytes, now.capacity_bytes);
      int64_t sum = 0;
      for (const auto& [tenant, bytes] : now.tenant_bytes) {
        sum += bytes;
        ASSERT_LE(bytes, tenant != 1 ? now.capacity_bytes : tier == Tier::kHost ? 3 * kTierPage : 4 * kTierPage);
      }
      ASSERT_EQ(sum, now.bytes);
    }
    ASSERT_EQ(stats.corrupt + stats.read_errors + stats.write_errors, 0);
  }

 private:
  uint64_t Draw(uint64_t below) { return RandomBits(seed_, 0, ++draws_) % below; }

  void Put(const TestChain& chain, int64_t place) {
    if (chain.Put(*store_, place)) {
      ASSERT_GE(chain.Known(*store_, place), 1);
      put_.insert({&chain, place});
    } else {
      ASSERT_EQ(chain.Known(*store_, place), 0);
    }
  }
  // Known pages are pages that were put, and stay while they are held. Of those known, the writer may make room with
  // some before they are held.
  void Hold(const TestChain& chain, int64_t place) {
    const int64_t known = chain.Known(*store_, place);
    if (known > 0 && held_.size() < 2) {
      std::unique_ptr<PageSource> source = store_->BeginRead(chain.keys(), place, known);
      const int64_t pages = chain.Read(*source, place);
      ASSERT_LE(pages, known);
      held_.push_back({&chain, place, pages, std::move(source)});
    }
    for (const Held& held : held_) {
      ASSERT_EQ(held.chain->Read(*held.source, held.place), held.pages);
    }
  }
  void Reopen() {
    held_.clear();
    store_->Flush();
    const PageStoreStats before = store_->Stats();
    store_ = nullptr;
    store_ = OpenStore(options_, &ops_);
    const PageStoreStats after = store_->Stats();
    ASSERT_EQ(after.tier(Tier::kDisk).pages, before.tier(Tier::kDisk).pages);
    ASSERT_EQ(after.tier(Tier::kDisk).tenant_bytes, before.tier(Tier::kDisk).tenant_bytes);
    ASSERT_EQ(after.pages, after.tier(Tier::kDisk).pages);
  }

  struct Held {
    const TestChain* chain = nullptr;
    int64_t place = 0;
    int64_t pages = 0;
    std::unique_ptr<PageSource> source;
  };

  const uint64_t seed_;
  uint64_t draws_ = 0;
  QuickFolder folder_;
  TestOps ops_;
  PageStoreOptions options_;
  std::vector<TestChain> chains_;
  std::unique_ptr<PageStore> store_;
  std::set<std::pair<const TestChain*, int64_t>> put_;
  std::vector<Held> held_;
};

TEST(TierModel, RandomWorkKeepsEveryPromise) {
  const int steps = kQuickBuild ? 3000 : 300;
  for (const auto& [host_pages, disk_pages] :
       std::vector<std::pair<int64_t, int64_t>>{{6, 0}, {0, 9}, {4, 12}, {8, 5}}) {
    for (uint64_t seed = 1; seed <= 4; ++seed) {
      SCOPED_TRACE(testing::Message() << "seed " << seed << ", host pages " << host_pages << ", disk pages "
                                      << disk_pages);
      Random random(seed, host_pages, disk_pages);
      for (int step = 0; step < steps && !testing::Test::HasFailure(); ++step) {
        random.Step();
        random.Check();
      }
    }
  }
}

// The order in which pages go, against lists that are searched from their ends.
TEST(TierModel, TheLedgerPicksWhatANaiveSearchPicks) {
  constexpr int64_t kCapacity = 7;
  const std::unordered_map<TenantId, PageShare> shares = {{1, {.max = 3, .floor = 0}}, {2, {.max = 99, .floor = 2}}};
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    TierLedger ledger(kCapacity, {.max = 99, .floor = 0}, shares);
    std::map<uint64_t, PageEntry> pages;  // by last use
    for (uint64_t step = 1; step <= 400; ++step) {
      const auto tenant = static_cast<TenantId>(RandomBits(seed, 1, step) % 4);
      const auto share = shares.contains(tenant) ? shares.at(tenant) : PageShare{99, 0};
      std::map<TenantId, int64_t> used;
      for (const auto& [use, page] : pages) {
        ++used[page.tenant];
      }
      const bool at_quota = used[tenant] >= share.max;
      const PageEntry* expected = nullptr;
      for (const auto& [use, page] : pages) {
        const bool protected_by_floor = page.tenant == 2 && used[2] <= 2;
        if (expected == nullptr && page.pins == 0 && (page.tenant == tenant || (!at_quota && !protected_by_floor))) {
          expected = &page;
        }
      }
      const bool must_evict = at_quota || static_cast<int64_t>(pages.size()) == kCapacity;
      const TierLedger::Room room = ledger.FindRoom(tenant);
      ASSERT_EQ(room.evict, must_evict ? expected : nullptr);
      if (must_evict && expected == nullptr) {
        ASSERT_EQ(room.answer, at_quota ? TierLedger::Answer::kQuota : TierLedger::Answer::kFull);
        const auto oldest =
            std::find_if(pages.begin(), pages.end(), [](const auto& page) { return page.second.pins > 0; });
        ASSERT_NE(oldest, pages.end());
        oldest->second.pins = 0;
        ledger.Offer(oldest->second);
        continue;
      }
      if (must_evict) {
        ledger.Withdraw(*expected);
        ledger.Release(expected->slot, expected->tenant);
        pages.erase(expected->last_use);
      }
      PageEntry& page = pages[step];
      page.last_use = step;
      page.tenant = tenant;
      page.slot = ledger.Acquire(tenant);
      page.pins = RandomBits(seed, 2, step) % 4 == 0 ? 1 : 0;
      if (page.pins == 0) {
        ledger.Offer(page);
      }
      ledger.CheckInvariants(static_cast<int64_t>(pages.size()));
    }
  }
}

TEST(TierThreads, PutsAndLookupsRunBesideReadsAndStats) {
  const TestFolder folder;
  auto store = OpenStore(TierOptions(6, 24, folder.path()));
  BoundedQueue<std::pair<const TestChain*, std::unique_ptr<PageSource>>> reads(8);
  std::vector<TestChain> chains;
  for (uint64_t name = 0; name < 12; ++name) {
    chains.emplace_back(name, 4);
  }
  std::atomic<int64_t> pages_read = 0;
  std::thread control([&] {
    while (auto read = reads.Pop()) {
      pages_read += read->first->Read(*read->second, 0);
      read->second = nullptr;
    }
  });
  std::thread watcher([&] {
    while (pages_read < 40) {
      EXPECT_LE(store->Stats().tier(Tier::kDisk).pages, 24);
      std::this_thread::yield();
    }
  });
  for (uint64_t step = 0; pages_read < 200; ++step) {
    const TestChain& chain = chains[RandomBits(3, 0, step) % chains.size()];
    chain.PutAll(*store);
    if (const int64_t known = chain.Known(*store); known > 0) {
      (void)reads.TryPush({&chain, store->BeginRead(chain.keys(), 0, known)});
    }
  }
  reads.Close();
  control.join();
  watcher.join();
  store->Flush();
  store->CheckInvariants();
  EXPECT_EQ(store->Stats().corrupt, 0);
}

}  // namespace
}  // namespace causeway::memory
