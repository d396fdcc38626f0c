#include "memory/prefix_index.h"

#include <deque>
#include <map>

#include <gtest/gtest.h>

#include "base/rng.h"
#include "memory/vm/mock_backend.h"

namespace causeway::memory {
namespace {

constexpr int64_t kT = 4;

bool Anyone(TenantId /*tenant*/) { return true; }
using Inserted = PrefixIndex::Inserted;

struct PrefixIndexTest : testing::Test {
  MockBackend mock{{.page_bytes = 64, .max_pages = 256}, MockBackend::Storage::kNone};
  PagePool pool{mock, 256};
  PrefixIndex index{kT, Digest{}};
  Digest root = index.Root("model");

  PageRef NewPage() {
    std::vector<PageRef> pages;
    EXPECT_TRUE(pool.Acquire(1, 0, pages).ok());
    return std::move(pages.front());
  }

  // Publishes all full pages of `tokens`; what is known already is found first.
  PrefixIndex::Hold Publish(const std::vector<Token>& tokens) {
    std::vector<Digest> keys;
    index.AppendKeys(root, tokens, keys);
    std::vector<PageRef> found;
    PrefixIndex::Hold hold = index.Find(keys, tokens, 1000, found);
    for (size_t i = found.size(); i < keys.size(); ++i) {
      EXPECT_EQ(index.Insert(hold, keys[i], std::span(tokens).subspan(i * kT, kT), NewPage()), Inserted::kAdded);
    }
    return hold;
  }
  std::vector<PageId> Lookup(const std::vector<Token>& tokens, int64_t max_pages = 1000) {
    std::vector<Digest> keys;
    index.AppendKeys(root, tokens, keys);
    std::vector<PageRef> found;
    const PrefixIndex::Hold hold = index.Find(keys, tokens, max_pages, found);
    EXPECT_EQ(hold.pages(), static_cast<int64_t>(found.size()));
    std::vector<PageId> ids;
    for (const PageRef& page : found) {
      ids.push_back(page.page());
    }
    return ids;
  }
  void TearDown() override {
    index.CheckInvariants();
    pool.CheckInvariants();
  }
};

TEST_F(PrefixIndexTest, FindsTheLongestKnownPrefixInWholePages) {
  Publish({1, 2, 3, 4, 5, 6, 7, 8, 9});
  EXPECT_EQ(index.pages(), 2);  // the ninth token fills no page
  EXPECT_EQ(Lookup({1, 2, 3}).size(), 0U);
  EXPECT_EQ(Lookup({1, 2, 3, 4, 5, 6, 7, 9}).size(), 1U);
  EXPECT_EQ(Lookup({1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4}).size(), 2U);
  EXPECT_EQ(Lookup({1, 2, 3, 4, 5, 6, 7, 8}, 1).size(), 1U);
  EXPECT_EQ(Lookup({5, 6, 7, 8}).size(), 0U);  // the same page at another place is other content
}

TEST_F(PrefixIndexTest, ScopesShareNothing) {
  Publish({1, 2, 3, 4});
  root = index.Root("other");
  EXPECT_TRUE(Lookup({1, 2, 3, 4}).empty());
}

TEST_F(PrefixIndexTest, TheSecondOfTwoEqualPagesStaysPrivate) {
  const std::vector<Token> tokens = {1, 2, 3, 4};
  PrefixIndex::Hold first = Publish(tokens);
  std::vector<Digest> keys;
  index.AppendKeys(root, tokens, keys);
  PrefixIndex::Hold second;
  const PageRef page = NewPage();
  ASSERT_NE(index.Known(second, keys[0], tokens), nullptr);
  EXPECT_EQ(index.Known(second, keys[0], tokens)->page(), first.page().page());
  EXPECT_EQ(index.Insert(second, keys[0], tokens, page), Inserted::kKnown);
  EXPECT_EQ(second.pages(), 1);
  EXPECT_EQ(pool.References(page.page()), 1U);
}

TEST_F(PrefixIndexTest, TokensAreComparedOnEveryHit) {
  const std::vector<Token> tokens = {1, 2, 3, 4};
  const std::vector<Token> others = {9, 9, 9, 9};
  Publish(tokens);
  std::vector<Digest> keys;
  index.AppendKeys(root, tokens, keys);
  std::vector<PageRef> found;
  EXPECT_FALSE(index.Find(keys, others, 1, found));  // as if the hash had collided
  PrefixIndex::Hold hold;
  EXPECT_EQ(index.Insert(hold, keys[0], others, NewPage()), Inserted::kRefused);
  EXPECT_FALSE(hold);
}

TEST_F(PrefixIndexTest, EvictsLeavesLeastRecentlyUsedAndTailFirst) {
  Publish({1, 1, 1, 1, 2, 2, 2, 2});
  Publish({1, 1, 1, 1, 3, 3, 3, 3});
  Publish({4, 4, 4, 4});
  Lookup({1, 1, 1, 1, 2, 2, 2, 2});  // now the youngest
  std::vector<int64_t> places;
  while (const auto next = index.NextToGo(Anyone)) {
    places.push_back(next->place);
    EXPECT_EQ(index.Evict(index.NextToGo(Anyone)->key).page(), next->page);
    index.CheckInvariants();
  }
  EXPECT_EQ(places, (std::vector<int64_t>{1, 0, 1, 0}));  // 3333, 4444, 2222, 1111
  EXPECT_EQ(pool.referenced(), 0);
}

TEST_F(PrefixIndexTest, WhatIsHeldStaysWithAllInFrontOfIt) {
  PrefixIndex::Hold hold = Publish({1, 1, 1, 1, 2, 2, 2, 2});
  EXPECT_FALSE(index.NextToGo(Anyone));
  hold.Reset();
  EXPECT_EQ(index.NextToGo(Anyone)->place, 1);
}

// Random publishing, looking up, letting go and evicting against a map of what is there.
TEST_F(PrefixIndexTest, RandomHistoryMatchesANaiveModel) {
  constexpr uint64_t kSeed = 41;
  SCOPED_TRACE(kSeed);
  std::deque<PrefixIndex::Hold> holds;
  std::map<std::vector<Token>, PageId> known;  // whole prefix -> page
  std::map<PageId, std::vector<Token>> prefix_of;
  for (uint64_t step = 0; step < 20000; ++step) {
    const auto draw = [&](uint64_t stream, uint64_t below) { return RandomBits(kSeed, stream, step) % below; };
    std::vector<Token> tokens(draw(0, 5) * kT + draw(1, kT));
    for (size_t i = 0; i < tokens.size(); ++i) {
      tokens[i] = static_cast<Token>(RandomBits(kSeed, 2 + i / kT, step) % 3);  // pages repeat often
    }
    const std::vector<PageId> found = Lookup(tokens);
    for (size_t i = 0; i < tokens.size() / kT; ++i) {
      const std::vector<Token> prefix(tokens.begin(), tokens.begin() + static_cast<int64_t>((i + 1) * kT));
      const auto it = known.find(prefix);
      ASSERT_EQ(it != known.end(), i < found.size()) << step;
      if (it != known.end()) {
        ASSERT_EQ(it->second, found[i]);
      }
    }
    if (draw(10, 3) == 0) {
      while (pool.Available() < 8) {
        ASSERT_TRUE(index.NextToGo(Anyone).has_value());
        known.erase(prefix_of[index.Evict(index.NextToGo(Anyone)->key).page()]);
      }
      holds.push_back(Publish(tokens));
      const std::vector<PageId> now = Lookup(tokens);
      for (size_t i = 0; i < now.size(); ++i) {
        const std::vector<Token> prefix(tokens.begin(), tokens.begin() + static_cast<int64_t>((i + 1) * kT));
        known[prefix] = now[i];
        prefix_of[now[i]] = prefix;
      }
    }
    while (holds.size() > 8) {
      holds.pop_front();
    }
    if (step % 100 == 0) {
      index.CheckInvariants();
      ASSERT_EQ(index.pages(), static_cast<int64_t>(known.size()));
    }
  }
}

}  // namespace
}  // namespace causeway::memory
