#include "kernels/cuda/device.h"

namespace causeway::kernels::cuda {

Result<std::vector<CudaDevice>> ListCudaDevices() {
  return MakeError(ErrorCode::kUnsupported, "built without the CUDA Toolkit");
}

}  // namespace causeway::kernels::cuda
