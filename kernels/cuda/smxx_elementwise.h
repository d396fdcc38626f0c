// Norms, rope, activations and residual sums on any NVIDIA device (sm_80 and later): the twins of
// the CPU entries of kernels/ops.h. Every pointer in the arguments is to device memory.
//
// Asynchronous on `stream`; an error of the launch is returned, an error of the run is met by the
// next call that waits. A row is reduced by one block in an order that depends on its length alone,
// so a row's result does not depend on how many rows a call has.
#pragma once

#include "base/result.h"
#include "kernels/ops.h"

struct CUstream_st;

namespace causeway::kernels::cuda {

using CudaStream = CUstream_st*;  // cudaStream_t; null: the default stream

Result<void> RmsNorm(CudaStream stream, const RmsNormArgs& args);
Result<void> LayerNorm(CudaStream stream, const LayerNormArgs& args);
Result<void> Rope(CudaStream stream, const RopeArgs& args);
Result<void> Activate(CudaStream stream, const ActivationArgs& args);
Result<void> AddScaled(CudaStream stream, const AddScaledArgs& args);
Result<void> ScaleCap(CudaStream stream, const ScaleCapArgs& args);

}  // namespace causeway::kernels::cuda
