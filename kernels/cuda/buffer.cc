#include "kernels/cuda/buffer.h"

#include <cuda_runtime.h>

#include <utility>

#include <fmt/format.h>

namespace causeway::kernels::cuda {

namespace {

Error CudaError(ErrorCode code, const char* what, cudaError_t error) {
  return MakeError(code, fmt::format("{}: {}", what, cudaGetErrorString(error)));
}

}  // namespace

Result<DeviceFloats> DeviceFloats::From(const std::vector<float>& values) {
  void* data = nullptr;
  const size_t bytes = values.size() * sizeof(float);
  if (const cudaError_t error = cudaMalloc(&data, bytes); error != cudaSuccess) {
    return CudaError(ErrorCode::kResourceExhausted, "cudaMalloc", error);
  }
  DeviceFloats buffer(static_cast<float*>(data), static_cast<int64_t>(values.size()));
  if (const cudaError_t error = cudaMemcpy(data, values.data(), bytes, cudaMemcpyHostToDevice); error != cudaSuccess) {
    return CudaError(ErrorCode::kInternal, "cudaMemcpy to the device", error);
  }
  return buffer;
}

DeviceFloats::DeviceFloats(DeviceFloats&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), count_(std::exchange(other.count_, 0)) {}

DeviceFloats& DeviceFloats::operator=(DeviceFloats&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(count_, other.count_);
  return *this;
}

DeviceFloats::~DeviceFloats() {
  if (data_ != nullptr) {
    cudaFree(data_);
  }
}

Result<std::vector<float>> DeviceFloats::ToHost() const {
  std::vector<float> values(static_cast<size_t>(count_));
  const cudaError_t error = cudaMemcpy(values.data(), data_, values.size() * sizeof(float), cudaMemcpyDeviceToHost);
  if (error != cudaSuccess) {
    return CudaError(ErrorCode::kInternal, "cudaMemcpy to the host", error);
  }
  return values;
}

Result<PinnedBytes> PinnedBytes::Allocate(int64_t bytes) {
  void* data = nullptr;
  if (const cudaError_t error = cudaMallocHost(&data, static_cast<size_t>(bytes)); error != cudaSuccess) {
    return CudaError(ErrorCode::kResourceExhausted, "cudaMallocHost", error);
  }
  return PinnedBytes({static_cast<std::byte*>(data), static_cast<size_t>(bytes)});
}

PinnedBytes::PinnedBytes(PinnedBytes&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

PinnedBytes::~PinnedBytes() {
  if (!bytes_.empty()) {
    cudaFreeHost(bytes_.data());
  }
}

}  // namespace causeway::kernels::cuda
