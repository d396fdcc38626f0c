#include "kernels/cuda/smxx_scan.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <string>
#include <vector>

namespace causeway::kernels::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kInFlight = 8;               // loads of a thread at a time
constexpr int64_t kBlockBytes = 64 << 10;  // that a block reads of a tensor
constexpr int64_t kVectorBytes = sizeof(uint4);
constexpr int64_t kMaxTensors = 65535;  // the grid's y is 16-bit

Result<void> Check(const char* call, cudaError_t error) {
  if (error != cudaSuccess) {
    return MakeError(ErrorCode::kInternal, std::string(call) + ": " + cudaGetErrorString(error));
  }
  return {};
}

__device__ uint64_t WordsOf(uint4 vector) {
  return ((uint64_t{vector.y} << 32) | vector.x) + ((uint64_t{vector.w} << 32) | vector.z);
}

// The block's sum, in thread 0.
__device__ uint64_t BlockSum(uint64_t value) {
  __shared__ unsigned long long sum;
  if (threadIdx.x == 0) {
    sum = 0;
  }
  __syncthreads();
  for (int offset = 16; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(0xffffffffU, value, offset);
  }
  if (threadIdx.x % 32 == 0) {
    atomicAdd(&sum, value);
  }
  __syncthreads();
  return sum;
}

// grid (blocks of `block_rows` rows, tensors): in ascending order of blocks, tensor by tensor, as the layers of a step.
__global__ void __launch_bounds__(kThreads) RowScanKernel(RowScanArgs args, int block_rows, uint64_t* sums) {
  const int first = static_cast<int>(blockIdx.x) * block_rows;
  const int rows = min(block_rows, static_cast<int>(args.tokens) - first);
  const int row_vectors = static_cast<int>(args.row_bytes / kVectorBytes);
  const int vectors = rows * row_vectors;
  const auto tokens_per_page = static_cast<int>(args.tokens_per_page);
  const std::byte* const base = args.base + blockIdx.y * args.tensor_stride;
  const auto load = [&](int at) {
    const int token = first + at / row_vectors;
    const std::byte* const row =
        base + token / tokens_per_page * args.page_bytes + token % tokens_per_page * args.row_stride;
    return *(reinterpret_cast<const uint4*>(row) + at % row_vectors);
  };
  uint64_t sum = 0;
  for (int64_t repeat = 0; repeat < args.repeats; ++repeat) {
    int at = static_cast<int>(threadIdx.x);
    for (; at + (kInFlight - 1) * kThreads < vectors; at += kInFlight * kThreads) {
      uint4 loaded[kInFlight];
#pragma unroll
      for (int i = 0; i < kInFlight; ++i) {
        loaded[i] = load(at + i * kThreads);
      }
#pragma unroll
      for (int i = 0; i < kInFlight; ++i) {
        sum += WordsOf(loaded[i]);
      }
    }
    for (; at < vectors; at += kThreads) {
      sum += WordsOf(load(at));
    }
    asm volatile("" ::: "memory");  // the next repeat reads anew
  }
  sum = BlockSum(sum);
  if (threadIdx.x == 0) {
    sums[blockIdx.y * gridDim.x + blockIdx.x] = sum;
  }
}

class Scan final : public RowScan {
 public:
  Scan() = default;
  Scan(const Scan&) = delete;
  Scan& operator=(const Scan&) = delete;
  ~Scan() override {  // null where Open failed, which all of these take
    cudaFree(sums_);
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
    cudaStreamDestroy(stream_);
  }

  Result<void> Open() {
    TRY(Check("cudaStreamCreate", cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)));
    TRY(Check("cudaEventCreate", cudaEventCreate(&begin_)));
    return Check("cudaEventCreate", cudaEventCreate(&end_));
  }

  CUstream_st* stream() const override { return stream_; }

  Result<void> Begin(const RowScanArgs& args) override {
    TRY(CheckArgs(args));
    const int64_t block_rows = std::max<int64_t>(1, kBlockBytes / args.row_bytes);
    const dim3 grid(static_cast<unsigned>((args.tokens + block_rows - 1) / block_rows),
                    static_cast<unsigned>(args.tensors));
    TRY(MakeRoom(int64_t{grid.x} * grid.y));
    TRY(Check("cudaEventRecord", cudaEventRecord(begin_, stream_)));
    RowScanKernel<<<grid, kThreads, 0, stream_>>>(args, static_cast<int>(block_rows), sums_);
    TRY(Check("row_scan", cudaGetLastError()));
    return Check("cudaEventRecord", cudaEventRecord(end_, stream_));
  }

  Result<bool> Running() override {
    const cudaError_t state = cudaEventQuery(end_);
    if (state == cudaErrorNotReady) {
      return true;
    }
    TRY(Check("row_scan", state));
    return false;
  }

  Result<Sum> End() override {
    TRY(Check("row_scan", cudaEventSynchronize(end_)));
    float milliseconds = 0;
    TRY(Check("cudaEventElapsedTime", cudaEventElapsedTime(&milliseconds, begin_, end_)));
    std::vector<uint64_t> sums(static_cast<size_t>(blocks_));
    TRY(Check("cudaMemcpy", cudaMemcpy(sums.data(), sums_, sums.size() * sizeof(uint64_t), cudaMemcpyDeviceToHost)));
    Sum sum{.microseconds = double{milliseconds} * 1e3};
    for (const uint64_t one : sums) {
      sum.value += one;
    }
    return sum;
  }

 private:
  static Result<void> CheckArgs(const RowScanArgs& args) {
    const auto base = reinterpret_cast<uintptr_t>(args.base);
    const bool aligned =
        (base | static_cast<uint64_t>(args.tensor_stride | args.page_bytes | args.row_stride | args.row_bytes)) %
            kVectorBytes ==
        0;
    const bool sized = args.tensors > 0 && args.tensors <= kMaxTensors && args.tokens > 0 && args.tokens < 1 << 30 &&
                       args.tokens_per_page > 0 && args.tokens_per_page < 1 << 30 && args.row_bytes > 0 &&
                       args.row_bytes < 1 << 24 && args.repeats > 0;
    if (!aligned || !sized) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "rows to scan have sizes that are out of range, or no multiples of 16");
    }
    return {};
  }

  // A sum a block.
  Result<void> MakeRoom(int64_t blocks) {
    if (blocks > room_) {
      TRY(Check("cudaFree", cudaFree(sums_)));
      sums_ = nullptr;
      room_ = 0;
      TRY(Check("cudaMalloc", cudaMalloc(&sums_, static_cast<size_t>(blocks) * sizeof(uint64_t))));
      room_ = blocks;
    }
    blocks_ = blocks;
    return {};
  }

  cudaStream_t stream_ = nullptr;
  cudaEvent_t begin_ = nullptr;
  cudaEvent_t end_ = nullptr;
  uint64_t* sums_ = nullptr;
  int64_t room_ = 0;    // sums that there is memory for
  int64_t blocks_ = 0;  // of the scan that was begun
};

}  // namespace

Result<std::unique_ptr<RowScan>> MakeRowScan() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
    return MakeError(ErrorCode::kFailedPrecondition, "no CUDA device");
  }
  auto scan = std::make_unique<Scan>();
  TRY(scan->Open());
  return std::unique_ptr<RowScan>(std::move(scan));
}

}  // namespace causeway::kernels::cuda
