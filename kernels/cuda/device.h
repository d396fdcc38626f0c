// What NVIDIA devices this machine has. In every build: without the CUDA Toolkit, kernels/cuda_stub
// answers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace causeway::kernels::cuda {

struct CudaDevice {
  int ordinal = 0;
  std::string name;
  int compute_capability = 0;  // 80 is 8.0
  int multiprocessors = 0;
  int64_t memory_bytes = 0;
};

// The devices in the driver's order, at least one. kUnsupported: this build has no CUDA;
// kFailedPrecondition: it has, and the machine has no device or no driver that answers. The message
// says which.
Result<std::vector<CudaDevice>> ListCudaDevices();

}  // namespace causeway::kernels::cuda
