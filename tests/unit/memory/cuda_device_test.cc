// The contract on the CUDA device of this machine; skips where there is none.
#include "tests/support/backend_contract.h"

namespace causeway::memory {
namespace {

INSTANTIATE_TEST_SUITE_P(Real, BackendThreads, testing::Values("device", "device_plain"),
                         [](const auto& info) { return info.param; });
INSTANTIATE_TEST_SUITE_P(Real, BackendContract, testing::Values("device", "device_plain"),
                         [](const auto& info) { return info.param; });

TEST(CudaDriverTest, LoadsOrSaysWhyNot) {
  const auto driver = LoadCudaDriver(0);
  if (!driver.ok()) {
    EXPECT_TRUE(driver.error().code == ErrorCode::kUnsupported ||
                driver.error().code == ErrorCode::kFailedPrecondition);
    EXPECT_NE(driver.error().message.find("CUDA"), std::string::npos) << driver.error().message;
    return;
  }
  size_t granularity = 0;
  EXPECT_EQ((*driver)->Granularity(&granularity), kCudaSuccess);
  EXPECT_GE(granularity, 65536U);
  EXPECT_EQ(LoadCudaDriver(1 << 20).error().code, ErrorCode::kFailedPrecondition);
}

}  // namespace
}  // namespace causeway::memory
