// Blocks for what checkpoints of the hub hold: codes, and the scale (and zero point) of the group they belong to. A
// container's reader unpacks its own bits to one byte a code and packs them here, so that kernels see one layout
// whatever the dialect. A group longer than a block has its scale in every block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/quant/format.h"

namespace causeway::kernels {

// What a code stands for, in the order in which float32 computes it.
enum class GroupCode : uint8_t {
  kUniform,  // (code - zero) * scale
  kSigned,   // (code - 2^(bits - 1)) * scale
  kInt8,     // ((code - 128) * scale) * (1 / 127 in float32): LLM.int8, the scale the row's largest magnitude
  kE4M3,     // e4m3(code) * scale
  kNF4,      // table[code] * scale: bitsandbytes' sixteen quantiles of the normal distribution
  kFP4,      // table[code] * scale: bitsandbytes' sixteen floats
  kMXFP4,    // e2m1(code) * 2^(fine - 127): OCP microscaling, one `fine` scale for 32 codes
  kNVFP4,    // e2m1(code) * (e4m3(fine) / scale): one `fine` scale for 16 codes, one `scale` for the tensor
};

// What the codes of one block share.
struct GroupScale {
  float scale = 1.0F;
  uint8_t zero = 0;               // kUniform
  const uint8_t* fine = nullptr;  // kMXFP4, kNVFP4: one byte for each 32 or 16 codes of the block
};

struct GroupBlock {
  FormatId id;
  GroupCode code;
  int bits;
  int elements;
  // `elements` codes, each below 2^bits, into one block.
  void (*pack)(const uint8_t* codes, const GroupScale& scale, std::byte* block);
};

// The longest block for such codes that divides `run`, the neighbours in a row that share a scale; null if none does.
const GroupBlock* FindGroupBlock(GroupCode code, int bits, int64_t run);

// What one code stands for; `zero` is that of kUniform and of kSigned. Of kMXFP4 and kNVFP4 the scale is that of
// FineScale.
float DecodeCode(GroupCode code, uint8_t stored, float scale, uint8_t zero);
// The scale of the codes under one `fine` byte.
float FineScale(GroupCode code, uint8_t fine, float scale);

// The sixteen numbers of kNF4 or kFP4.
std::span<const float> TableOf(GroupCode code);

// Small floats, in all their 256 codes: e4m3 without infinities (0x7f and 0xff are NaN), and powers of two with 0xff
// NaN. Source: OCP 8-bit floating point and microscaling formats.
float E4M3ToFloat(uint8_t code);
float E8M0ToFloat(uint8_t code);

}  // namespace causeway::kernels
