// Encode and decode of the block formats, one file a family; the registry in format.cc names them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/quant/grid.h"

namespace causeway::kernels {

#define CAUSEWAY_DECLARE_BLOCK(name)                                        \
  void Decode##name(const std::byte* source, float* values, int64_t count); \
  void Encode##name(const float* values, std::byte* target, int64_t count)

// Those whose encoding has two halves (grid.h).
#define CAUSEWAY_DECLARE_GRID_BLOCK(name)                                   \
  CAUSEWAY_DECLARE_BLOCK(name);                                             \
  void Fit##name(const float* x, const float* importance, BlockGrid& grid); \
  void Pack##name(const BlockGrid& grid, const int* codes, std::byte* block)

// ggml_blocks.cc
CAUSEWAY_DECLARE_GRID_BLOCK(Q8_0);
CAUSEWAY_DECLARE_GRID_BLOCK(Q4_0);
CAUSEWAY_DECLARE_GRID_BLOCK(Q4_1);
CAUSEWAY_DECLARE_GRID_BLOCK(Q5_0);
CAUSEWAY_DECLARE_GRID_BLOCK(Q5_1);
// k_quants.cc
CAUSEWAY_DECLARE_GRID_BLOCK(Q2_K);
CAUSEWAY_DECLARE_GRID_BLOCK(Q3_K);
CAUSEWAY_DECLARE_GRID_BLOCK(Q4_K);
CAUSEWAY_DECLARE_GRID_BLOCK(Q5_K);
CAUSEWAY_DECLARE_GRID_BLOCK(Q6_K);
// iq4.cc
CAUSEWAY_DECLARE_GRID_BLOCK(IQ4_NL);
CAUSEWAY_DECLARE_GRID_BLOCK(IQ4_XS);
// group_blocks.cc
CAUSEWAY_DECLARE_BLOCK(U8G128);
CAUSEWAY_DECLARE_BLOCK(U8G64);
CAUSEWAY_DECLARE_BLOCK(U8G32);
CAUSEWAY_DECLARE_BLOCK(U4G128);
CAUSEWAY_DECLARE_BLOCK(U4G64);
CAUSEWAY_DECLARE_BLOCK(U4G32);
CAUSEWAY_DECLARE_BLOCK(U3G128);
CAUSEWAY_DECLARE_BLOCK(U3G64);
CAUSEWAY_DECLARE_BLOCK(U3G32);
CAUSEWAY_DECLARE_BLOCK(U2G128);
CAUSEWAY_DECLARE_BLOCK(U2G64);
CAUSEWAY_DECLARE_BLOCK(U2G32);
CAUSEWAY_DECLARE_BLOCK(I8G128);
CAUSEWAY_DECLARE_BLOCK(I4G128);
CAUSEWAY_DECLARE_BLOCK(LLM_INT8G128);
CAUSEWAY_DECLARE_BLOCK(LLM_INT8G32);
CAUSEWAY_DECLARE_BLOCK(E4M3G128);
CAUSEWAY_DECLARE_BLOCK(E4M3G32);
CAUSEWAY_DECLARE_BLOCK(NF4G64);
CAUSEWAY_DECLARE_BLOCK(NF4G32);
CAUSEWAY_DECLARE_BLOCK(FP4G64);
CAUSEWAY_DECLARE_BLOCK(FP4G32);
CAUSEWAY_DECLARE_BLOCK(MXFP4);
CAUSEWAY_DECLARE_BLOCK(NVFP4G128);
CAUSEWAY_DECLARE_BLOCK(NVFP4G32);
// spqr.cc
CAUSEWAY_DECLARE_BLOCK(SPQR3);

#undef CAUSEWAY_DECLARE_GRID_BLOCK
#undef CAUSEWAY_DECLARE_BLOCK

// Name, code, bits, values and bytes of each block of group_blocks.cc.
#define CAUSEWAY_GROUP_BLOCKS(X)      \
  X(U8G128, kUniform, 8, 128, 133)    \
  X(U8G64, kUniform, 8, 64, 69)       \
  X(U8G32, kUniform, 8, 32, 37)       \
  X(U4G128, kUniform, 4, 128, 69)     \
  X(U4G64, kUniform, 4, 64, 37)       \
  X(U4G32, kUniform, 4, 32, 21)       \
  X(U3G128, kUniform, 3, 128, 53)     \
  X(U3G64, kUniform, 3, 64, 29)       \
  X(U3G32, kUniform, 3, 32, 17)       \
  X(U2G128, kUniform, 2, 128, 37)     \
  X(U2G64, kUniform, 2, 64, 21)       \
  X(U2G32, kUniform, 2, 32, 13)       \
  X(I8G128, kSigned, 8, 128, 132)     \
  X(I4G128, kSigned, 4, 128, 68)      \
  X(LLM_INT8G128, kInt8, 8, 128, 132) \
  X(LLM_INT8G32, kInt8, 8, 32, 36)    \
  X(E4M3G128, kE4M3, 8, 128, 132)     \
  X(E4M3G32, kE4M3, 8, 32, 36)        \
  X(NF4G64, kNF4, 4, 64, 36)          \
  X(NF4G32, kNF4, 4, 32, 20)          \
  X(FP4G64, kFP4, 4, 64, 36)          \
  X(FP4G32, kFP4, 4, 32, 20)          \
  X(MXFP4, kMXFP4, 4, 32, 17)         \
  X(NVFP4G128, kNVFP4, 4, 128, 76)    \
  X(NVFP4G32, kNVFP4, 4, 32, 22)

// Block by block through a copy: files do not align them.
template <typename Block, int kElements, void (*DecodeOne)(const Block&, float*)>
void DecodeBlocks(const std::byte* source, float* values, int64_t count) {
  for (int64_t i = 0; i < count; i += kElements, source += sizeof(Block)) {
    Block block;
    std::memcpy(&block, source, sizeof(Block));
    DecodeOne(block, values + i);
  }
}

// Each value to the nearest that its block's scales allow.
template <int kElements, int kBytes, auto kFit, auto kPack>
void EncodeBlocks(const float* values, std::byte* target, int64_t count) {
  int codes[kElements];
  for (int64_t i = 0; i < count; i += kElements, target += kBytes) {
    BlockGrid grid;
    kFit(values + i, EqualImportance(), grid);
    for (int j = 0; j < kElements; ++j) {
      codes[j] = grid.CodeOf(j, values[i + j]);
    }
    kPack(grid, codes, target);
  }
}

// The four functions of format `name`, from its Block<name>, DecodeOne<name>, FitOne<name> and PackOne<name>.
#define CAUSEWAY_DEFINE_BLOCK(name, elements)                                                                     \
  void Decode##name(const std::byte* source, float* values, int64_t count) {                                      \
    DecodeBlocks<Block##name, elements, DecodeOne##name>(source, values, count);                                  \
  }                                                                                                               \
  void Fit##name(const float* x, const float* importance, BlockGrid& grid) { FitOne##name(x, importance, grid); } \
  void Pack##name(const BlockGrid& grid, const int* codes, std::byte* block) {                                    \
    Block##name packed{};                                                                                         \
    PackOne##name(grid, codes, packed);                                                                           \
    std::memcpy(block, &packed, sizeof(packed));                                                                  \
  }                                                                                                               \
  void Encode##name(const float* values, std::byte* target, int64_t count) {                                      \
    EncodeBlocks<elements, sizeof(Block##name), Fit##name, Pack##name>(values, target, count);                    \
  }

}  // namespace causeway::kernels
