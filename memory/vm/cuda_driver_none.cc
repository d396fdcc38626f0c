#include "memory/vm/cuda_driver.h"

namespace causeway::memory {

Result<std::unique_ptr<CudaDriver>> LoadCudaDriver(int /*ordinal*/) {
  return MakeError(ErrorCode::kUnsupported, "built without the CUDA Toolkit");
}

}  // namespace causeway::memory
