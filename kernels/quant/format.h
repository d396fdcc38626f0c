// Weight formats as data: how a row of numbers lies in memory, and its scalar encode and decode.
// One row of the registry each; the reference kernels serve any format through `decode`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace causeway::kernels {

enum class FormatId : uint8_t { kF32, kF16, kBF16 };

struct WeightFormat {
  FormatId id;
  std::string_view name;         // as shown to users: "bf16"
  std::string_view safetensors;  // dtype string of the safetensors format
  int block_elements;            // values per block
  int block_bytes;               // bytes per block, exactly
  // Decodes or encodes `count` values, a multiple of block_elements. Encoding rounds to nearest even.
  void (*decode)(const std::byte* source, float* values, int64_t count);
  void (*encode)(const float* values, std::byte* target, int64_t count);
};

std::span<const WeightFormat> WeightFormats();
const WeightFormat& FormatOf(FormatId id);

// Exact bytes of `count` values.
inline int64_t BytesOf(FormatId id, int64_t count) {
  const WeightFormat& format = FormatOf(id);
  return count / format.block_elements * format.block_bytes;
}

}  // namespace causeway::kernels
