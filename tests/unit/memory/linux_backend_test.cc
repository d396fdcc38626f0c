// What only the Linux backend has: mappings that the kernel counts, access that it enforces.
#include <cstring>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "tests/support/kv_fixtures.h"

namespace causeway::memory {
namespace {

// Mappings of the memory file in this process.
int CountMappings() {
  std::ifstream maps("/proc/self/maps");
  int count = 0;
  for (std::string line; std::getline(maps, line);) {
    count += line.find("causeway-kv") != std::string::npos ? 1 : 0;
  }
  return count;
}

TEST(LinuxBackend, NeighboursMergeIntoOneMapping) {
  auto cache = KvCache::Create(TestCacheOptions(64, 4, 32), MakeTestBackend("linux", 64)).value();
  Span span = cache->CreateSpan(1).value();
  for (int64_t pages = 1; pages <= 32; ++pages) {  // page by page, as a decode grows
    ASSERT_TRUE(cache->Reserve(span, pages * kTestTokensPerPage).ok());
    std::memset(span.base(), 1, static_cast<size_t>(pages * 4096));
  }
  EXPECT_EQ(CountMappings(), 1);
  EXPECT_EQ(cache->Stats().mappings, 1);
}

TEST(LinuxBackend, OurCountOfMappingsIsTheKernels) {
  auto cache = KvCache::Create(TestCacheOptions(64, 4, 32), MakeTestBackend("linux", 64)).value();
  Span a = cache->CreateSpan(1).value();
  Span b = cache->CreateSpan(1).value();
  for (int64_t pages = 1; pages <= 10; ++pages) {
    ASSERT_TRUE(cache->Reserve(a, pages * kTestTokensPerPage).ok());
    ASSERT_TRUE(cache->Reserve(b, pages * kTestTokensPerPage).ok());
    EXPECT_EQ(CountMappings(), cache->Stats().mappings);
  }
  EXPECT_EQ(cache->Stats().mappings, 20);  // in turn: no two neighbours
}

TEST(LinuxBackendDeathTest, WhatIsNotMappedTraps) {
  auto backend = MakeTestBackend("linux", 4);
  std::byte* const arena = backend->ReserveArena(4 * 4096).value();
  ASSERT_TRUE(backend->Create(0).ok());
  ASSERT_TRUE(backend->Map(arena, std::vector<PageId>{0}, false).ok());
  EXPECT_DEATH(*arena = std::byte{1}, "");       // read-only
  EXPECT_DEATH(arena[4096] = std::byte{1}, "");  // never mapped
  ASSERT_TRUE(backend->Unmap(arena, 1).ok());
  EXPECT_DEATH((void)*static_cast<volatile std::byte*>(arena), "");
}

TEST(LinuxBackend, RefusesBadSizes) {
  EXPECT_EQ(MakeLinuxBackend({.page_bytes = 1000, .max_pages = 1}).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(MakeLinuxBackend({.page_bytes = 4096, .max_pages = 0}).error().code, ErrorCode::kInvalidArgument);
  EXPECT_FALSE(MakeLinuxBackend({.page_bytes = 4096, .max_pages = int64_t{1} << 62}).ok());
}

TEST(LinuxBackend, AnArenaThatDoesNotFitIsAnError) {
  auto backend = MakeTestBackend("linux", 4);
  EXPECT_EQ(backend->ReserveArena(int64_t{1} << 56).error().code, ErrorCode::kFailedPrecondition);
}

TEST(LinuxBackendDeathTest, ASealedPageCannotBeWritten) {
  auto backend = MakeTestBackend("linux", 1);
  std::byte* const arena = backend->ReserveArena(TestGeometry().page_bytes).value();
  ASSERT_TRUE(backend->Create(0).ok());
  ASSERT_TRUE(backend->Map(arena, std::vector<PageId>{0}, true).ok());
  arena[0] = std::byte{1};
  ASSERT_TRUE(backend->Protect(arena, 1, false).ok());
  EXPECT_DEATH(arena[0] = std::byte{2}, "");
}

}  // namespace
}  // namespace causeway::memory
