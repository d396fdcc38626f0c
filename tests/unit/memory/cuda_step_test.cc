// A step that really runs on the device while the cache changes mappings; skips where there is no device.
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/cuda/smxx_scan.h"
#include "memory/vm/cuda_backend.h"

namespace causeway::memory {
namespace {

constexpr int64_t kPageBytes = 2 << 20;
constexpr int64_t kPages = 8;
constexpr int64_t kRow = 2048;

struct CudaStep : testing::Test {
  void SetUp() override {
    auto driver = LoadCudaDriver(0);
    if (!driver.ok()) {
      GTEST_SKIP() << driver.error().message;
    }
    step = kernels::cuda::MakeRowScan().value();
    backend = MakeCudaBackend({kPageBytes, kPages}, std::move(driver).value(),
                              {.step_stream = step->stream(), .protect_sealed = true})
                  .value();
    arena = backend->ReserveArena(kPages * kPageBytes).value();
    const std::vector<std::byte> ones(kPageBytes, std::byte{1});
    for (PageId page = 0; page < kPages; ++page) {
      ASSERT_TRUE(backend->Create(page).ok());
      ASSERT_TRUE(backend->WritePage(page, ones).ok());
    }
  }

  // Begins a step of many milliseconds that reads the first four places.
  void Begin() {
    constexpr int64_t kRows = 4 * kPageBytes / kRow;
    ASSERT_TRUE(step->Begin({.base = arena,
                             .tokens = kRows,
                             .tokens_per_page = kRows,
                             .row_stride = kRow,
                             .row_bytes = kRow,
                             .repeats = kRepeats})
                    .ok());
    backend->StepSubmitted();
  }
  // It has ended, and has read ones to its end.
  void ExpectEnded() {
    EXPECT_FALSE(step->Running().value());
    const auto sum = step->End();
    ASSERT_TRUE(sum.ok()) << sum.error().message;
    EXPECT_EQ(sum->value, uint64_t{0x0101010101010101} * (4 * kPageBytes / 8) * kRepeats);
  }

  static constexpr int64_t kRepeats = 20000;
  std::unique_ptr<kernels::cuda::RowScan> step;
  std::unique_ptr<CudaVmBackend> backend;
  std::byte* arena = nullptr;
};

TEST_F(CudaStep, IsWaitedForBeforeItsPagesGo) {
  ASSERT_TRUE(backend->Map(arena, std::vector<PageId>{3, 1, 0, 2}, true).ok());
  Begin();
  ASSERT_TRUE(backend->Unmap(arena + kPageBytes, 3).ok());
  ExpectEnded();
  ASSERT_TRUE(backend->Map(arena + kPageBytes, std::vector<PageId>{1, 0, 2}, true).ok());
  Begin();
  ASSERT_TRUE(backend->Replace(arena, 5, false).ok());
  ExpectEnded();
  Begin();
  ASSERT_TRUE(backend->Protect(arena + kPageBytes, 1, false).ok());
  ExpectEnded();
}

// New pages are made and mapped behind those that it reads.
TEST_F(CudaStep, RunsOnWhileOthersAreMapped) {
  ASSERT_TRUE(backend->Map(arena, std::vector<PageId>{0, 1, 2, 3}, true).ok());
  ASSERT_TRUE(backend->Release(7).ok());
  Begin();
  ASSERT_TRUE(backend->Create(7).ok());
  ASSERT_TRUE(backend->Map(arena + 4 * kPageBytes, std::vector<PageId>{7, 4}, true).ok());
  ASSERT_TRUE(step->End().ok());
  ExpectEnded();
}

}  // namespace
}  // namespace causeway::memory
