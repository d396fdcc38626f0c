// What only the CUDA backend has, over a fake driver that dies where the real one would corrupt memory or fault.
#include <string>

#include <sys/mman.h>
#include <unistd.h>

#include "tests/support/kv_fixtures.h"

namespace causeway::memory {
namespace {

constexpr int64_t kPages = 8;
constexpr int64_t kPageBytes = 4096;

struct CudaBackendTest : testing::Test {
  void SetUp() override { Open({}); }
  void Open(const FakeCudaOptions& options) {
    auto fake = std::make_unique<FakeCudaDriver>(options);
    driver = fake.get();
    backend = MakeCudaBackend({.page_bytes = kPageBytes, .max_pages = kPages}, std::move(fake),
                              {.protect_sealed = protect_sealed})
                  .value();
    arena = backend->ReserveArena(kPages * kPageBytes).value();
    for (PageId page = 0; page < 4; ++page) {
      ASSERT_TRUE(backend->Create(page).ok());
    }
  }
  std::byte* At(int64_t place) const { return arena + place * kPageBytes; }
  // A step over whatever is mapped now.
  void Step() {
    driver->Launch();
    backend->StepSubmitted();
  }

  bool protect_sealed = true;
  FakeCudaDriver* driver = nullptr;
  std::unique_ptr<CudaVmBackend> backend;
  std::byte* arena = nullptr;
};

TEST_F(CudaBackendTest, SetsAccessOncePerRange) {
  const uint64_t maps = driver->calls(CudaCall::kMap);
  const uint64_t accesses = driver->calls(CudaCall::kSetAccess);
  ASSERT_TRUE(backend->Map(At(0), std::vector<PageId>{3, 0, 2, 1}, true).ok());
  EXPECT_EQ(driver->calls(CudaCall::kMap) - maps, 4U);
  EXPECT_EQ(driver->calls(CudaCall::kSetAccess) - accesses, 1U);
  const uint64_t unmaps = driver->calls(CudaCall::kUnmap);
  ASSERT_TRUE(backend->Unmap(At(0), 4).ok());
  EXPECT_EQ(driver->calls(CudaCall::kUnmap) - unmaps, 1U);
}

TEST_F(CudaBackendTest, PhysicalBytesAreTheHandlesOfTheDriver) {
  EXPECT_EQ(backend->PhysicalBytes(), driver->memory().handles() * kPageBytes);
  ASSERT_TRUE(backend->Release(2).ok());
  EXPECT_EQ(backend->PhysicalBytes(), 3 * kPageBytes);
  EXPECT_EQ(driver->memory().handles(), 3);
}

TEST_F(CudaBackendTest, WaitsForTheLastStepBeforeAnythingChangesUnderIt) {
  ASSERT_TRUE(backend->Map(At(0), std::vector<PageId>{0, 1, 2}, true).ok());
  Step();
  ASSERT_TRUE(backend->Map(At(4), std::vector<PageId>{3}, true).ok());
  EXPECT_TRUE(driver->Running());  // a new mapping is nobody's yet
  ASSERT_TRUE(backend->Unmap(At(2), 1).ok());
  EXPECT_FALSE(driver->Running());
  Step();
  ASSERT_TRUE(backend->Protect(At(0), 1, false).ok());
  EXPECT_FALSE(driver->Running());
  Step();
  ASSERT_TRUE(backend->Replace(At(1), 0, false).ok());
  EXPECT_FALSE(driver->Running());
  Step();
  ASSERT_TRUE(backend->Release(2).ok());
  EXPECT_FALSE(driver->Running());
  const uint64_t waits = driver->calls(CudaCall::kSynchronize);
  ASSERT_TRUE(backend->Unmap(At(4), 1).ok());
  EXPECT_EQ(driver->calls(CudaCall::kSynchronize), waits);  // nothing was submitted since
}

TEST_F(CudaBackendTest, CopiesSeeWhatTheLastStepWrote) {
  ASSERT_TRUE(backend->Map(At(0), std::vector<PageId>{0, 1}, true).ok());
  std::vector<std::byte> bytes(kPageBytes);
  Step();
  ASSERT_TRUE(backend->Copy(At(1), At(0)).ok());
  EXPECT_FALSE(driver->Running());
  Step();
  ASSERT_TRUE(backend->ReadPage(0, bytes).ok());
  EXPECT_FALSE(driver->Running());
}

using CudaBackendDeathTest = CudaBackendTest;

// What the fence is for: without StepSubmitted nobody knows of the kernel.
TEST_F(CudaBackendDeathTest, AnUnmapBeforeTheStepsEndTraps) {
  ASSERT_TRUE(backend->Map(At(0), std::vector<PageId>{0, 1}, true).ok());
  EXPECT_DEATH((driver->Launch(), (void)backend->Unmap(At(0), 1)), "unmapped while a kernel");
  EXPECT_DEATH((driver->Launch(), (void)backend->Replace(At(0), 2, true)), "unmapped while a kernel");
  EXPECT_DEATH((driver->Launch(), (void)backend->Protect(At(0), 1, false)), "access changed while a kernel");
}

TEST_F(CudaBackendDeathTest, ChecksWhatIsMapped) {
  ASSERT_TRUE(backend->Map(At(1), std::vector<PageId>{0}, true).ok());
  EXPECT_DEATH((void)backend->Map(At(0), std::vector<PageId>{1, 2}, true), "place 1 of the arena is mapped");
  EXPECT_DEATH((void)backend->Unmap(At(1), 2), "place 2 of the arena is not mapped");
  EXPECT_DEATH((void)backend->Map(At(2), std::vector<PageId>{5}, true), "page 5 does not exist");
  EXPECT_DEATH((void)backend->Create(0), "page 0 exists");
  EXPECT_DEATH((void)backend->Unmap(At(0) + 1, 1), "offset");
}

TEST_F(CudaBackendDeathTest, ASealedPageCannotBeWritten) {
  ASSERT_TRUE(backend->EnforcesReadOnly());
  ASSERT_TRUE(backend->Map(At(0), std::vector<PageId>{0}, true).ok());
  ASSERT_TRUE(backend->Protect(At(0), 1, false).ok());
  EXPECT_DEATH(*At(0) = std::byte{1}, "");
}

TEST_F(CudaBackendTest, LivesWithoutReadOnlyAccessAndWithoutExport) {
  backend.reset();
  Open({.read_only = false, .exports_handles = false});
  EXPECT_FALSE(backend->EnforcesReadOnly());
  ASSERT_TRUE(backend->Map(At(0), std::vector<PageId>{0}, true).ok());
  ASSERT_TRUE(backend->Map(At(1), std::vector<PageId>{1}, false).ok());
  EXPECT_TRUE(backend->Protect(At(0), 1, false).ok());
  EXPECT_EQ(backend->ExportPage(0).error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(backend->Describe(), "cuda, fake device, sealed pages not protected");
}

// What is not protected costs nothing: no call, and no wait for a step.
TEST_F(CudaBackendTest, SealsWithoutACallWhereItNeedNotProtect) {
  backend.reset();
  protect_sealed = false;
  Open({});
  EXPECT_FALSE(backend->EnforcesReadOnly());
  EXPECT_NE(backend->Describe().find("sealed pages not protected"), std::string::npos);
  ASSERT_TRUE(backend->Map(At(0), std::vector<PageId>{0}, true).ok());
  Step();
  const uint64_t accesses = driver->calls(CudaCall::kSetAccess);
  ASSERT_TRUE(backend->Protect(At(0), 1, false).ok());
  EXPECT_TRUE(driver->Running());
  EXPECT_EQ(driver->calls(CudaCall::kSetAccess), accesses);
}

TEST_F(CudaBackendTest, AnExportedPageIsTheSameMemory) {
  ASSERT_TRUE(backend->Map(At(0), std::vector<PageId>{2}, true).ok());
  *At(0) = std::byte{42};
  const int file = backend->ExportPage(2).value();
  constexpr int64_t kProbed = 1;  // the handle that MakeCudaBackend tried and gave back lies in front
  std::byte value{};
  EXPECT_EQ(::pread(file, &value, 1, (kProbed + 2) * kPageBytes), 1);
  EXPECT_EQ(value, std::byte{42});
  ::close(file);
  EXPECT_NE(backend->Describe().find("exportable"), std::string::npos);
}

TEST_F(CudaBackendTest, ErrorsNameTheCallAndTheDriversReason) {
  driver->FailNth(CudaCall::kCreate, 1);
  const Error full = backend->Create(5).error();
  EXPECT_EQ(full.code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(full.message, "cuMemCreate: CUDA_ERROR_OUT_OF_MEMORY");
  driver->FailNth(CudaCall::kSetAccess, 1);
  EXPECT_EQ(backend->Map(At(0), std::vector<PageId>{0}, true).error().message,
            "cuMemSetAccess: CUDA_ERROR_NOT_SUPPORTED");
}

TEST_F(CudaBackendTest, AFailedStepIsAnErrorOfWhateverWaitsForIt) {
  ASSERT_TRUE(backend->Map(At(0), std::vector<PageId>{0}, true).ok());
  Step();
  driver->FailNth(CudaCall::kSynchronize, 1);
  EXPECT_EQ(backend->Unmap(At(0), 1).error().code, ErrorCode::kInternal);
  EXPECT_TRUE(backend->Unmap(At(0), 1).ok());  // still mapped then
}

TEST_F(CudaBackendTest, AStepThatCannotBeWaitedForStopsEveryChange) {
  ASSERT_TRUE(backend->Map(At(0), std::vector<PageId>{0}, true).ok());
  driver->FailNth(CudaCall::kRecord, 1);
  backend->StepSubmitted();
  EXPECT_NE(backend->Unmap(At(0), 1).error().message.find("cuEventRecord"), std::string::npos);
  EXPECT_NE(backend->Release(1).error().message.find("cuEventRecord"), std::string::npos);
}

TEST(CudaBackend, MakingItFailsWholeAtEveryCall) {
  int failed = 0;
  for (int nth = 1; nth < 20; ++nth) {
    auto fake = std::make_unique<FakeCudaDriver>();  // dies if anything is left on it
    FakeCudaDriver* const driver = fake.get();
    driver->FailNthOfAny(nth);
    const auto backend = MakeCudaBackend({.page_bytes = kPageBytes, .max_pages = kPages}, std::move(fake));
    if (!backend.ok()) {
      ++failed;
      EXPECT_EQ(backend.error().message.find("cu"), 0U) << backend.error().message;
    }
  }
  EXPECT_GE(failed, 7);  // reserve, event, and the page that is tried: create, map, access, fill, unmap
}

TEST(CudaBackend, RefusesBadSizes) {
  const auto make = [](const VmOptions& options) {
    return MakeCudaBackend(options, std::make_unique<FakeCudaDriver>(FakeCudaOptions{.granularity = 2 << 20}));
  };
  EXPECT_EQ(make({.page_bytes = 4096, .max_pages = 1}).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(make({.page_bytes = 2 << 20, .max_pages = 0}).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(make({.page_bytes = 2 << 20, .max_pages = int64_t{1} << 60}).error().code, ErrorCode::kInvalidArgument);
  const auto backend = make({.page_bytes = 2 << 20, .max_pages = 2});
  ASSERT_TRUE(backend.ok());
  EXPECT_EQ((*backend)->granularity(), 2 << 20);
}

struct FakeDeviceMemoryDeathTest : testing::Test {
  FakeCudaDriver driver;
  CudaAddress address = 0;
  CudaHandle handle = 0;
  void SetUp() override {
    ASSERT_EQ(driver.ReserveAddress(&address, 4 * 4096, 4096), kCudaSuccess);
    ASSERT_EQ(driver.CreateHandle(&handle, 8192, false), kCudaSuccess);
    ASSERT_EQ(driver.Map(address, 8192, handle), kCudaSuccess);
  }
  void TearDown() override {
    ASSERT_EQ(driver.Unmap(address, 8192), kCudaSuccess);
    ASSERT_EQ(driver.FreeAddress(address, 4 * 4096), kCudaSuccess);
  }
};

TEST_F(FakeDeviceMemoryDeathTest, KnowsTheRulesOfTheDriver) {
  EXPECT_DEATH(driver.Map(address, 8192, handle), "mapped over a mapping");
  EXPECT_DEATH(driver.Map(address + 8192, 4096, handle), "a part of handle");
  EXPECT_DEATH(driver.Map(address + 3 * 4096, 8192, handle), "outside");
  EXPECT_DEATH(driver.Unmap(address, 4096), "a part of a mapping");
  EXPECT_DEATH(driver.Unmap(address + 8192, 4096), "nothing is mapped");
  EXPECT_DEATH(driver.SetAccess(address, 3 * 4096, CudaAccess::kRead), "nothing is mapped");
  EXPECT_DEATH(driver.Fill(address, 0, 8192), "without access");
  EXPECT_DEATH(driver.FreeAddress(address, 4 * 4096), "memory mapped");
  int file = -1;
  EXPECT_DEATH(driver.ExportHandle(&file, handle), "not created to be exported");
  EXPECT_DEATH(*reinterpret_cast<volatile char*>(address), "");
  ASSERT_EQ(driver.ReleaseHandle(handle), kCudaSuccess);
  EXPECT_EQ(driver.memory().handles(), 1);  // it lives as long as it is mapped
  EXPECT_DEATH(driver.ReleaseHandle(handle), "released twice");
}

}  // namespace
}  // namespace causeway::memory
