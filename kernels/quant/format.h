// Weight formats as data: how a row of numbers lies in memory, and its scalar encode and decode.
// One row of the registry each; every table of kernels serves any format through `decode`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace causeway::kernels {

enum class FormatId : uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ8_0,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIQ4_NL,
  kIQ4_XS,
  kU8G128,
  kU8G64,
  kU8G32,
  kU4G128,
  kU4G64,
  kU4G32,
  kU3G128,
  kU3G64,
  kU3G32,
  kU2G128,
  kU2G64,
  kU2G32,
  kI8G128,
  kI4G128,
  kLLM_INT8G128,
  kLLM_INT8G32,
  kE4M3G128,
  kE4M3G32,
  kNF4G64,
  kNF4G32,
  kFP4G64,
  kFP4G32,
  kMXFP4,
  kNVFP4G128,
  kNVFP4G32,
  kSPQR3,
};

// What a stored code stands for.
enum class CodeKind : uint8_t {
  kFloat,       // the number itself
  kSigned,      // scale * code, the code around zero
  kAffine,      // scale * code plus or minus the group's minimum
  kTable,       // scale * table[code]
  kZeroPoint,   // scale * (code - zero), both from zero to 2^bits - 1
  kSmallFloat,  // scale * the e4m3 or e2m1 number that the code spells
};

// What a kernel that works on the codes must know. Codes are `bits` wide; `group` neighbours share a scale.
struct CodeLayout {
  CodeKind kind;
  int bits;
  int group;
};

struct WeightFormat {
  FormatId id;
  std::string_view name;   // as shown to users: "bf16", "q4_K"
  std::string_view dtype;  // as a container names it: of safetensors "BF16", of GGUF "Q4_K"
  int block_elements;      // values per block, at most kMaxBlockElements
  int block_bytes;         // bytes per block, exactly
  CodeLayout codes;
  // Decodes or encodes `count` values, a multiple of block_elements. Any bytes decode to something, block by block: a
  // scale that is infinite or NaN spoils its own block alone. Bytes need no alignment. Floats are rounded to nearest
  // even; blocks take finite values and search the scales that leave the least squared error, codes to nearest.
  void (*decode)(const std::byte* source, float* values, int64_t count);
  void (*encode)(const float* values, std::byte* target, int64_t count);
};

inline constexpr int kMaxBlockElements = 256;

std::span<const WeightFormat> WeightFormats();
const WeightFormat& FormatOf(FormatId id);
// The format that containers call `dtype`; null if it is none of ours.
const WeightFormat* FindFormat(std::string_view dtype);
// "F32, F16, ...", for messages.
std::string_view KnownDtypes();

// Exact bytes of `count` values, a multiple of the block.
inline int64_t BytesOf(FormatId id, int64_t count) {
  const WeightFormat& format = FormatOf(id);
  return count / format.block_elements * format.block_bytes;
}

}  // namespace causeway::kernels
