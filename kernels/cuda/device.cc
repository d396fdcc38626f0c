#include "kernels/cuda/device.h"

#include <cuda_runtime.h>

#include <fmt/format.h>

namespace causeway::kernels::cuda {

Result<std::vector<CudaDevice>> ListCudaDevices() {
  int count = 0;
  const cudaError_t code = cudaGetDeviceCount(&count);
  if (code != cudaSuccess || count == 0) {
    cudaGetLastError();  // not sticky: nothing was launched
    return MakeError(
        ErrorCode::kFailedPrecondition,
        fmt::format("no CUDA device: {}", code == cudaSuccess ? "the driver lists none" : cudaGetErrorString(code)));
  }
  std::vector<CudaDevice> devices;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties;
    if (const cudaError_t error = cudaGetDeviceProperties(&properties, i); error != cudaSuccess) {
      return MakeError(ErrorCode::kFailedPrecondition, fmt::format("CUDA device {}: {}", i, cudaGetErrorString(error)));
    }
    devices.push_back({i, properties.name, properties.major * 10 + properties.minor, properties.multiProcessorCount,
                       static_cast<int64_t>(properties.totalGlobalMem)});
  }
  return devices;
}

}  // namespace causeway::kernels::cuda
