#include "kernels/cuda/device.h"

#include <gtest/gtest.h>

namespace causeway::kernels::cuda {
namespace {

TEST(CudaDeviceTest, ListsDevicesOrSaysWhyThereIsNone) {
  const auto devices = ListCudaDevices();
  if (!devices.ok()) {
    EXPECT_TRUE(devices.error().code == ErrorCode::kUnsupported ||
                devices.error().code == ErrorCode::kFailedPrecondition);
    EXPECT_NE(devices.error().message.find("CUDA"), std::string::npos) << devices.error().message;
    return;
  }
  ASSERT_FALSE(devices->empty());
  for (const CudaDevice& device : *devices) {
    EXPECT_FALSE(device.name.empty());
    EXPECT_GE(device.compute_capability, 50);
    EXPECT_GT(device.memory_bytes, int64_t{1} << 28);
  }
}

}  // namespace
}  // namespace causeway::kernels::cuda
