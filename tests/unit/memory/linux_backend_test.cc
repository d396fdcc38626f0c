// What only the Linux backend has: mappings that the kernel counts, access that it enforces.
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "memory/vm/linux_calls.h"
#include "tests/support/kv_fixtures.h"
#include "tests/support/step_reader_backend.h"

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

constexpr VmOptions kHuge{.page_bytes = 2 << 20, .max_pages = 4, .huge_pages = HugePages::kCollapse};

// What the kernel answers to madvise, and how often it was asked.
int collapse_errno = 0;
int collapses = 0;
int Collapse(void* at, size_t bytes, int advice) {
  ++collapses;
  errno = collapse_errno;
  return collapse_errno != 0 ? -1 : ::madvise(at, bytes, advice);
}

std::unique_ptr<VmBackend> BackendThatCollapses(int error) {
  collapse_errno = error;
  collapses = 0;
  LinuxCalls calls;
  calls.madvise = Collapse;
  auto backend = MakeLinuxBackend(kHuge, calls).value();
  EXPECT_TRUE(backend->Create(0).ok());
  return backend;
}

TEST(LinuxBackend, AKernelThatCannotCollapseIsAskedOnce) {
  const auto backend = BackendThatCollapses(EINVAL);
  EXPECT_FALSE(backend->Improve(0));
  EXPECT_FALSE(backend->Improve(0));
  EXPECT_EQ(collapses, 1);
}

TEST(LinuxBackend, WithoutHugePagesJustNowItTriesLaterButNotForever) {
  const auto backend = BackendThatCollapses(ENOMEM);
  for (int i = 0; i < 10; ++i) {
    EXPECT_FALSE(backend->Improve(0));
  }
  EXPECT_EQ(collapses, 10);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_FALSE(backend->Improve(0));
  }
  EXPECT_LT(collapses, 100);
}

TEST(LinuxBackend, APageIsCollapsedOnceInItsLife) {
  const auto backend = BackendThatCollapses(0);
  if (!backend->Improve(0)) {
    GTEST_SKIP() << "this kernel does not collapse shared memory, or has no huge page to spare";
  }
  EXPECT_TRUE(backend->Improve(0));
  EXPECT_EQ(collapses, 1);
  ASSERT_TRUE(backend->Release(0).ok());
  ASSERT_TRUE(backend->Create(0).ok());
  (void)backend->Improve(0);
  EXPECT_EQ(collapses, 2);
}

// Bytes of mappings of 2 MiB within those of the memory file.
int64_t HugeMappedKib() {
  std::ifstream maps("/proc/self/smaps");
  bool ours = false;
  int64_t kib = 0;
  for (std::string line; std::getline(maps, line);) {
    if (line.find('-') < line.find(' ')) {
      ours = line.find("causeway-kv") != std::string::npos;
    } else if (ours && line.starts_with("ShmemPmdMapped:")) {
      kib += std::stoll(line.substr(15));
    }
  }
  return kib;
}

TEST(LinuxBackend, ImprovedPagesAreMappedAsHugeOnes) {
  const auto backend = MakeLinuxBackend(kHuge).value();
  std::byte* const arena = backend->ReserveArena(4 * kHuge.page_bytes).value();
  ASSERT_TRUE(backend->Create(0).ok() && backend->Create(1).ok());
  if (!backend->ImproveRun(0, 2)) {
    GTEST_SKIP() << "this kernel does not collapse shared memory, or has no huge page to spare";
  }
  ASSERT_TRUE(backend->Map(arena + 2 * kHuge.page_bytes, std::vector<PageId>{1, 0}, true).ok());
  EXPECT_EQ(HugeMappedKib(), 4096);
  EXPECT_EQ(backend->PhysicalBytes(), 2 * kHuge.page_bytes);
}

TEST(LinuxBackend, TakesHugetlbPagesOnlyWhereThereAreEnough) {
  const auto make = [](HugePages kind, int64_t page_bytes) {
    LinuxCalls calls;
    calls.mmap = [](void* at, size_t bytes, int protection, int flags, int file, off_t offset) -> void* {
      if (at == nullptr && file >= 0) {  // where all pages are reserved
        errno = ENOMEM;
        return MAP_FAILED;
      }
      return ::mmap(at, bytes, protection, flags, file, offset);
    };
    return MakeLinuxBackend({.page_bytes = page_bytes, .max_pages = 4, .huge_pages = kind}, calls);
  };
  EXPECT_NE(make(HugePages::kAuto, 2 << 20).value()->Describe().find("collapsed"), std::string::npos);
  EXPECT_EQ(make(HugePages::kHugetlb, 2 << 20).error().code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(make(HugePages::kHugetlb, 4096).error().code, ErrorCode::kInvalidArgument);
  for (const auto kind : {HugePages::kAuto, HugePages::kCollapse}) {  // a small page cannot be huge
    EXPECT_EQ(make(kind, 4096).value()->Describe(), "linux, system pages of 4096 bytes");
  }
  EXPECT_EQ(make(HugePages::kNever, 2 << 20).value()->Describe(), "linux, system pages of 4096 bytes");
  EXPECT_FALSE(make(HugePages::kNever, 2 << 20).value()->Improve(0));
}

using Waits = StepReaderBackend::Waits;

// Until a step that still runs has come by all its pages.
void LetTheStepRead(const StepReaderBackend& backend) {
  const int64_t before = backend.reads();
  while (backend.running() && backend.reads() < before + 100) {
    std::this_thread::yield();
  }
}

// Each call that takes a page away from its place, while a step reads there.
void TakePagesFromUnderSteps(Waits waits) {
  StepReaderBackend backend({.page_bytes = 4096, .max_pages = 4}, waits);
  std::byte* const arena = backend.ReserveArena(4 * 4096).value();
  for (PageId page = 0; page < 3; ++page) {
    ASSERT_TRUE(backend.Create(page).ok());
  }
  ASSERT_TRUE(backend.Map(arena, std::vector<PageId>{0, 1, 2}, true).ok());
  backend.StepSubmitted();
  ASSERT_TRUE(backend.Unmap(arena, 1).ok());
  LetTheStepRead(backend);
  backend.StepSubmitted();
  ASSERT_TRUE(backend.Replace(arena + 4096, 0, false).ok());
  LetTheStepRead(backend);
  EXPECT_GE(backend.reads(), 2);
}

// The cache over it: a range that is parked and trimmed right after the step that read it was submitted.
void TrimUnderSteps(Waits waits) {
  auto backend = std::make_unique<StepReaderBackend>(VmOptions{.page_bytes = 4096, .max_pages = 8}, waits);
  StepReaderBackend& steps = *backend;
  const auto cache = KvCache::Create(TestCacheOptions(8, 2, 4), std::move(backend)).value();
  for (int round = 0; round < 10; ++round) {
    {
      Span span = cache->CreateSpan(1).value();
      ASSERT_TRUE(cache->Reserve(span, 3 * kTestTokensPerPage).ok());
      steps.StepSubmitted();
    }
    ASSERT_TRUE(cache->Trim().ok());
    LetTheStepRead(steps);
  }
  EXPECT_GE(steps.reads(), 10);
}

TEST(EarlyUnmap, IsCleanWhereTheBackendWaitsForTheStep) {
  TakePagesFromUnderSteps(Waits::kAlways);
  TrimUnderSteps(Waits::kAlways);
}

TEST(EarlyUnmapDeathTest, TrapsWhereItDoesNot) {
  EXPECT_DEATH(TakePagesFromUnderSteps(Waits::kNever), "");
  EXPECT_DEATH(TrimUnderSteps(Waits::kNever), "");
}

}  // namespace
}  // namespace causeway::memory
