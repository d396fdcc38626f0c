#include "scheduler/share_groups.h"

#include <algorithm>
#include <map>
#include <string>

#include <gtest/gtest.h>

#include "base/rng.h"
#include "tests/support/kv_fixtures.h"

namespace causeway::scheduler {
namespace {

constexpr int64_t kT = memory::kTestTokensPerPage;

// Sequences whose full pages are named by a letter each, all of them published.
struct ShareGroupsTest : testing::Test {
  ShareGroupsTest() : mocked(memory::MakeMockedCache(memory::TestCacheOptions(512, 40, 16))) {
    root = mocked.cache->PrefixRoot("");
  }

  void Begin(const std::string& pages) {
    std::vector<Token> tokens;
    for (const char page : pages) {
      tokens.insert(tokens.end(), kT, static_cast<Token>(page));
    }
    std::vector<Digest> keys;
    mocked.cache->AppendPrefixKeys(root, tokens, keys);
    const auto count = static_cast<int64_t>(pages.size());
    spans.push_back(mocked.cache->CreateSpan(count * kT + 1, {keys, tokens, count}).value());
    ASSERT_TRUE(mocked.cache->Reserve(spans.back(), count * kT + 1).ok());
    mocked.cache->Publish(spans.back(), keys, tokens);
    ASSERT_EQ(spans.back().sealed_pages(), count);
    texts.push_back(pages);
  }

  // "group:pages" of each row; "-" without a group.
  std::vector<std::string> Groups() {
    std::vector<const memory::Span*> pointers;
    for (const memory::Span& span : spans) {
      pointers.push_back(&span);
    }
    PlanRow used;  // in the plan before
    used.shared_positions = used.share_group = 77;
    rows.assign(spans.size(), used);
    groups.Assign(pointers, kT, rows);
    std::vector<std::string> named;
    for (const PlanRow& row : rows) {
      named.push_back(row.share_group < 0
                          ? "-"
                          : std::to_string(row.share_group) + ":" + std::to_string(row.shared_positions / kT));
    }
    return named;
  }

  // Page reads saved by the best grouping of these texts below their first `depth` pages.
  static int64_t BestSaved(const std::vector<std::string>& texts, size_t depth) {
    std::map<char, std::vector<std::string>> branches;
    for (const std::string& text : texts) {
      if (text.size() > depth) {
        branches[text[depth]].push_back(text);
      }
    }
    int64_t apart = 0;
    for (const auto& [page, branch] : branches) {
      apart += BestSaved(branch, depth + 1);
    }
    return std::max(apart, (static_cast<int64_t>(texts.size()) - 1) * static_cast<int64_t>(depth));
  }

  memory::MockedCache mocked;
  Digest root{};
  std::vector<memory::Span> spans;
  std::vector<std::string> texts;
  std::vector<PlanRow> rows;
  ShareGroups groups;
};

using Names = std::vector<std::string>;

TEST_F(ShareGroupsTest, RowsThatBeginAlikeAreOneGroup) {
  EXPECT_EQ(Groups(), Names{});
  for (const char* pages : {"x", "abc", "", "abd", "aby", "z"}) {
    Begin(pages);
  }
  EXPECT_EQ(Groups(), (Names{"-", "1:2", "-", "1:2", "1:2", "-"}));
}

// A short beginning that all share is worth less than long ones that some share.
TEST_F(ShareGroupsTest, TheGroupsThatSaveMostAreFormed) {
  for (const char* pages : {"sdddd", "seeee", "sddddx", "seeeey", "s"}) {
    Begin(pages);
  }
  EXPECT_EQ(Groups(), (Names{"0:5", "1:5", "0:5", "1:5", "-"}));
}

TEST_F(ShareGroupsTest, OrTheOneThatAllAreIn) {
  for (const char* pages : {"ssssd", "sssse", "ssssd", "ssssf", "ssss"}) {
    Begin(pages);
  }
  EXPECT_EQ(Groups(), (Names{"0:4", "0:4", "0:4", "0:4", "0:4"}));
}

TEST_F(ShareGroupsTest, NoGroupingOfARandomTreeSavesMore) {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    spans.clear();
    texts.clear();
    const auto draw = [&](uint64_t i, uint64_t what, uint64_t below) { return RandomBits(seed, i, what) % below; };
    const uint64_t count = 1 + draw(0, 0, 20);
    for (uint64_t i = 1; i <= count; ++i) {
      std::string pages;
      for (uint64_t page = draw(i, 0, 9); page > 0; --page) {
        pages += static_cast<char>('a' + draw(i, page, page % 3 == 0 ? 3 : 1));
      }
      Begin(pages);
    }
    Groups();
    std::map<int32_t, std::vector<size_t>> members;
    for (size_t i = 0; i < rows.size(); ++i) {
      members[rows[i].share_group].push_back(i);
    }
    members.erase(-1);
    int64_t saved = 0;
    for (const auto& [group, indices] : members) {
      EXPECT_GE(indices.size(), 2U);
      EXPECT_EQ(static_cast<size_t>(group), indices.front());
      const int64_t pages = rows[indices.front()].shared_positions / kT;
      for (const size_t i : indices) {
        EXPECT_EQ(rows[i].shared_positions, pages * kT);
        EXPECT_GE(CommonPages(spans[i], spans[indices.front()]), pages);
      }
      saved += (std::ssize(indices) - 1) * pages;
    }
    EXPECT_EQ(saved, BestSaved(texts, 0));
  }
}

}  // namespace
}  // namespace causeway::scheduler
