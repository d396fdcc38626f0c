// Float arrays in device memory, for those outside kernels/cuda who must not see CUDA's headers.
#pragma once

#include <cstdint>
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

}  // namespace causeway::kernels::cuda
