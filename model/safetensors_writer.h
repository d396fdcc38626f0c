// Writes safetensors files: one pass, data streamed by the caller.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace causeway::model {

struct TensorToWrite {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  int64_t bytes = 0;
};

// What stands in front of the data: the length of the JSON, then the JSON, padded so that the data are aligned.
std::string SafetensorsHeader(std::span<const TensorToWrite> tensors);

// Called once per tensor in order; must hand exactly its bytes to `write`, in as many pieces as it likes.
using TensorSource = std::function<void(size_t index, const std::function<void(std::span<const std::byte>)>& write)>;

// Writes `path` anew. The error names the path and the reason.
Result<void> WriteSafetensors(const std::string& path, std::span<const TensorToWrite> tensors,
                              const TensorSource& source);

}  // namespace causeway::model
