#include "kernels/cuda/smxx_elementwise.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <string>

namespace causeway::kernels::cuda {

namespace {

// One block a row. A fixed width keeps the order of every reduction independent of the device.
constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
// The grid's y and z are 16-bit; rows and groups beyond are walked.
constexpr int64_t kMaxRows = 65535;
constexpr int64_t kMaxColumns = 1 << 20;

Result<void> LaunchResult(const char* name) {
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) {
    return MakeError(ErrorCode::kInternal, std::string(name) + ": " + cudaGetErrorString(error));
  }
  return {};
}

// The same sum in every thread of the block: lanes by butterfly, then the warps in ascending order.
__device__ float BlockSum(float value) {
  __shared__ float of_warp[kWarps];
  for (int offset = 16; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(0xffffffffU, value, offset);
  }
  __syncthreads();  // the previous sum has been read
  if (threadIdx.x % 32 == 0) {
    of_warp[threadIdx.x / 32] = value;
  }
  __syncthreads();
  float sum = of_warp[0];
  for (int warp = 1; warp < kWarps; ++warp) {
    sum += of_warp[warp];
  }
  return sum;
}

// grid (rows, groups)
__global__ void RmsNormKernel(RmsNormArgs args) {
  for (int64_t row = blockIdx.x; row < args.m; row += gridDim.x) {
    for (int64_t group = blockIdx.y; group < args.groups; group += gridDim.y) {
      const float* x = args.x + row * args.x_stride + group * args.dim;
      float* y = args.y + row * args.y_stride + group * args.dim;
      float sum = 0.0F;
      for (int64_t i = threadIdx.x; i < args.dim; i += kThreads) {
        sum += x[i] * x[i];
      }
      const float scale = 1.0F / sqrtf(BlockSum(sum) / static_cast<float>(args.dim) + args.eps);
      for (int64_t i = threadIdx.x; i < args.dim; i += kThreads) {
        y[i] = x[i] * scale * args.weight[i];
      }
    }
  }
}

// grid (rows)
__global__ void LayerNormKernel(LayerNormArgs args) {
  for (int64_t row = blockIdx.x; row < args.m; row += gridDim.x) {
    const float* x = args.x + row * args.x_stride;
    float* y = args.y + row * args.y_stride;
    float sum = 0.0F;
    for (int64_t i = threadIdx.x; i < args.dim; i += kThreads) {
      sum += x[i];
    }
    const float mean = BlockSum(sum) / static_cast<float>(args.dim);
    float squares = 0.0F;
    for (int64_t i = threadIdx.x; i < args.dim; i += kThreads) {
      squares += (x[i] - mean) * (x[i] - mean);
    }
    const float scale = 1.0F / sqrtf(BlockSum(squares) / static_cast<float>(args.dim) + args.eps);
    for (int64_t i = threadIdx.x; i < args.dim; i += kThreads) {
      const float bias = args.bias == nullptr ? 0.0F : args.bias[i];
      y[i] = (x[i] - mean) * scale * args.weight[i] + bias;
    }
  }
}

// grid (rows, heads); a thread a pair
__global__ void RopeKernel(RopeArgs args) {
  const int64_t half = args.rotary_dim / 2;
  for (int64_t row = blockIdx.x; row < args.m; row += gridDim.x) {
    for (int64_t head = blockIdx.y; head < args.heads; head += gridDim.y) {
      float* x = args.x + row * args.x_stride + head * args.head_dim;
      for (int64_t i = threadIdx.x; i < half; i += blockDim.x) {
        const float cosine = args.cosine[row * half + i];
        const float sine = args.sine[row * half + i];
        const float low = x[i];
        const float high = x[i + half];
        x[i] = low * cosine - high * sine;
        x[i + half] = high * cosine + low * sine;
      }
    }
  }
}

__device__ float Act(Activation activation, float x) {
  constexpr float kSqrtHalf = 0.70710678118654752F;
  constexpr float kSqrtTwoOverPi = 0.79788456080286536F;
  switch (activation) {
    case Activation::kSilu: return x / (1.0F + expf(-x));
    case Activation::kGelu: return 0.5F * x * (1.0F + erff(x * kSqrtHalf));
    case Activation::kGeluTanh: return 0.5F * x * (1.0F + tanhf(kSqrtTwoOverPi * (x + 0.044715F * x * x * x)));
    case Activation::kRelu: return fmaxf(x, 0.0F);
  }
  return x;
}

// grid (columns / kThreads, rows) for the element-wise ones below
__global__ void ActivationKernel(ActivationArgs args) {
  for (int64_t row = blockIdx.y; row < args.m; row += gridDim.y) {
    for (int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x; i < args.dim; i += gridDim.x * int64_t{kThreads}) {
      const float gated = Act(args.activation, args.gate[row * args.gate_stride + i]);
      args.y[row * args.y_stride + i] = args.up == nullptr ? gated : gated * args.up[row * args.up_stride + i];
    }
  }
}

__global__ void AddScaledKernel(AddScaledArgs args) {
  for (int64_t row = blockIdx.y; row < args.m; row += gridDim.y) {
    for (int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x; i < args.dim; i += gridDim.x * int64_t{kThreads}) {
      args.x[row * args.x_stride + i] += args.scale * args.y[row * args.y_stride + i];
    }
  }
}

__global__ void ScaleCapKernel(ScaleCapArgs args) {
  for (int64_t row = blockIdx.y; row < args.m; row += gridDim.y) {
    for (int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x; i < args.dim; i += gridDim.x * int64_t{kThreads}) {
      float& x = args.x[row * args.x_stride + i];
      const float scaled = args.scale * x;
      x = args.cap > 0.0F ? args.cap * tanhf(scaled / args.cap) : scaled;
    }
  }
}

dim3 RowGrid(int64_t rows, int64_t groups) {
  return {static_cast<unsigned>(std::min(rows, int64_t{1} << 30)), static_cast<unsigned>(std::min(groups, kMaxRows))};
}

dim3 ElementGrid(int64_t rows, int64_t columns) {
  return {static_cast<unsigned>(std::min((columns + kThreads - 1) / kThreads, kMaxColumns)),
          static_cast<unsigned>(std::min(rows, kMaxRows))};
}

// Threads of a block that walks `count` items: whole warps, no more than there is work for.
int ThreadsFor(int64_t count) { return static_cast<int>(std::clamp<int64_t>((count + 31) / 32 * 32, 32, kThreads)); }

}  // namespace

Result<void> RmsNorm(CudaStream stream, const RmsNormArgs& args) {
  if (args.m > 0) {
    RmsNormKernel<<<RowGrid(args.m, args.groups), kThreads, 0, stream>>>(args);
  }
  return LaunchResult("rms_norm");
}

Result<void> LayerNorm(CudaStream stream, const LayerNormArgs& args) {
  if (args.m > 0) {
    LayerNormKernel<<<RowGrid(args.m, 1), kThreads, 0, stream>>>(args);
  }
  return LaunchResult("layer_norm");
}

Result<void> Rope(CudaStream stream, const RopeArgs& args) {
  if (args.m > 0 && args.rotary_dim > 0) {
    RopeKernel<<<RowGrid(args.m, args.heads), ThreadsFor(args.rotary_dim / 2), 0, stream>>>(args);
  }
  return LaunchResult("rope");
}

Result<void> Activate(CudaStream stream, const ActivationArgs& args) {
  if (args.m > 0 && args.dim > 0) {
    ActivationKernel<<<ElementGrid(args.m, args.dim), kThreads, 0, stream>>>(args);
  }
  return LaunchResult("activation");
}

Result<void> AddScaled(CudaStream stream, const AddScaledArgs& args) {
  if (args.m > 0 && args.dim > 0) {
    AddScaledKernel<<<ElementGrid(args.m, args.dim), kThreads, 0, stream>>>(args);
  }
  return LaunchResult("add_scaled");
}

Result<void> ScaleCap(CudaStream stream, const ScaleCapArgs& args) {
  if (args.m > 0 && args.dim > 0) {
    ScaleCapKernel<<<ElementGrid(args.m, args.dim), kThreads, 0, stream>>>(args);
  }
  return LaunchResult("scale_cap");
}

}  // namespace causeway::kernels::cuda
