// Memory for those outside kernels/cuda who must not see CUDA's headers: float arrays in device memory, and pinned
// bytes of the host's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"

namespace causeway::kernels::cuda {

// An array on the current device, owned. Copies wait for the device.
class DeviceFloats {
 public:
  // kResourceExhausted when the device has no room.
  static Result<DeviceFloats> From(const std::vector<float>& values);

  DeviceFloats(DeviceFloats&& other) noexcept;
  DeviceFloats& operator=(DeviceFloats&& other) noexcept;
  ~DeviceFloats();

  float* data() { return data_; }
  const float* data() const { return data_; }

  // kInternal carries a failed launch before it: CUDA errors are sticky.
  Result<std::vector<float>> ToHost() const;

 private:
  DeviceFloats(float* data, int64_t count) : data_(data), count_(count) {}

  float* data_;  // null once moved from
  int64_t count_;
};

// Host memory that the device copies from and to by itself, without a detour over the driver's buffers. Owned.
class PinnedBytes {
 public:
  // kResourceExhausted when the system pins no more.
  static Result<PinnedBytes> Allocate(int64_t bytes);

  PinnedBytes(PinnedBytes&& other) noexcept;
  PinnedBytes& operator=(PinnedBytes&&) = delete;
  ~PinnedBytes();

  std::span<std::byte> bytes() const { return bytes_; }

 private:
  explicit PinnedBytes(std::span<std::byte> bytes) : bytes_(bytes) {}

  std::span<std::byte> bytes_;  // empty once moved from
};

}  // namespace causeway::kernels::cuda
