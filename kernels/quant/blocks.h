// Encode and decode of the block formats, one file a family; the registry in format.cc names them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace causeway::kernels {

#define CAUSEWAY_DECLARE_BLOCK(name)                                        \
  void Decode##name(const std::byte* source, float* values, int64_t count); \
  void Encode##name(const float* values, std::byte* target, int64_t count)

// ggml_blocks.cc
CAUSEWAY_DECLARE_BLOCK(Q8_0);
CAUSEWAY_DECLARE_BLOCK(Q4_0);
CAUSEWAY_DECLARE_BLOCK(Q4_1);
CAUSEWAY_DECLARE_BLOCK(Q5_0);
CAUSEWAY_DECLARE_BLOCK(Q5_1);
// k_quants.cc
CAUSEWAY_DECLARE_BLOCK(Q2_K);
CAUSEWAY_DECLARE_BLOCK(Q3_K);
CAUSEWAY_DECLARE_BLOCK(Q4_K);
CAUSEWAY_DECLARE_BLOCK(Q5_K);
CAUSEWAY_DECLARE_BLOCK(Q6_K);
// iq4.cc
CAUSEWAY_DECLARE_BLOCK(IQ4_NL);
CAUSEWAY_DECLARE_BLOCK(IQ4_XS);

#undef CAUSEWAY_DECLARE_BLOCK

// Block by block through a copy: files do not align them.
template <typename Block, int kElements, void (*DecodeOne)(const Block&, float*)>
void DecodeBlocks(const std::byte* source, float* values, int64_t count) {
  for (int64_t i = 0; i < count; i += kElements, source += sizeof(Block)) {
    Block block;
    std::memcpy(&block, source, sizeof(Block));
    DecodeOne(block, values + i);
  }
}

template <typename Block, int kElements, void (*EncodeOne)(const float*, Block&)>
void EncodeBlocks(const float* values, std::byte* target, int64_t count) {
  for (int64_t i = 0; i < count; i += kElements, target += sizeof(Block)) {
    Block block{};
    EncodeOne(values + i, block);
    std::memcpy(target, &block, sizeof(Block));
  }
}

// The two functions of format `name`, from its Block<name>, DecodeOne<name> and EncodeOne<name>.
#define CAUSEWAY_DEFINE_BLOCK(name, elements)                                    \
  void Decode##name(const std::byte* source, float* values, int64_t count) {     \
    DecodeBlocks<Block##name, elements, DecodeOne##name>(source, values, count); \
  }                                                                              \
  void Encode##name(const float* values, std::byte* target, int64_t count) {     \
    EncodeBlocks<Block##name, elements, EncodeOne##name>(values, target, count); \
  }

}  // namespace causeway::kernels
