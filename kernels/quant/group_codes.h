// How a block of group_blocks.h lies: [scale f32][zero u8][fine scales][codes], the zero point only of uniform codes,
// the fine scales only of MXFP4 (which has no f32 scale) and NVFP4. Codes in chunks of 32, each 4 * bits bytes: four
// bits as in ggml's blocks, the low halves of the bytes first; two bits alike, in quarters; three bits as two bits,
// then a word of the third ones.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/quant/group_blocks.h"

namespace causeway::kernels {

// Codes that share a fine scale; 0: there are none.
constexpr int FineRun(GroupCode code) { return code == GroupCode::kMXFP4 ? 32 : code == GroupCode::kNVFP4 ? 16 : 0; }

// Where the parts of a block lie.
template <GroupCode kCode, int kBits, int kElements>
struct GroupLayout {
  static constexpr int kScaleBytes = kCode == GroupCode::kMXFP4 ? 0 : 4;
  static constexpr int kFineAt = kScaleBytes + (kCode == GroupCode::kUniform ? 1 : 0);
  static constexpr int kFineRun = FineRun(kCode);
  static constexpr int kFineBytes = kFineRun == 0 ? 0 : kElements / std::max(kFineRun, 1);
  static constexpr int kCodesAt = kFineAt + kFineBytes;
  static constexpr int kBytes = kCodesAt + kElements / 8 * kBits;
};

inline constexpr int kChunk = 32;

// Eight codes at once, a byte each in a 64-bit word.
inline uint64_t LoadEight(const void* bytes) {
  uint64_t eight;
  std::memcpy(&eight, bytes, sizeof(eight));
  return eight;
}
inline void StoreEight(uint64_t eight, uint8_t* codes) { std::memcpy(codes, &eight, sizeof(eight)); }
constexpr uint64_t EightOf(uint8_t code) { return code * 0x0101010101010101U; }

// Bit i as the code of byte i, and back.
constexpr uint64_t SpreadBits(uint8_t bits) {
  const uint64_t each = EightOf(bits) & 0x8040201008040201U;  // bit i of byte i
  return ((each + EightOf(0x7f)) >> 7) & EightOf(1);          // carries up to the highest bit, never beyond
}
constexpr uint8_t GatherBits(uint64_t eight) { return static_cast<uint8_t>((eight * 0x0102040810204080U) >> 56); }

template <int kBits>
void PackChunk(const uint8_t* codes, uint8_t* bytes) {
  static_assert(kBits == 2 || kBits == 3 || kBits == 4 || kBits == 8);
  if constexpr (kBits == 8) {
    std::memcpy(bytes, codes, kChunk);
  } else if constexpr (kBits == 4) {
    for (int i = 0; i < kChunk / 2; ++i) {
      bytes[i] = static_cast<uint8_t>((codes[i] & 0xf) | (codes[i + kChunk / 2] << 4));
    }
  } else {
    uint64_t pairs = 0;
    for (int i = 0; i < kChunk / 8; ++i) {
      pairs |= (LoadEight(codes + 8 * i) & EightOf(3)) << (2 * i);
    }
    StoreEight(pairs, bytes);
    if constexpr (kBits == 3) {
      for (int i = 0; i < kChunk / 8; ++i) {
        bytes[kChunk / 4 + i] = GatherBits((LoadEight(codes + 8 * i) >> 2) & EightOf(1));
      }
    }
  }
}

template <int kBits>
void UnpackChunk(const uint8_t* bytes, uint8_t* codes) {
  if constexpr (kBits == 8) {
    std::memcpy(codes, bytes, kChunk);
  } else if constexpr (kBits == 4) {
    for (int i = 0; i < kChunk / 2; ++i) {
      codes[i] = bytes[i] & 0xf;
      codes[i + kChunk / 2] = static_cast<uint8_t>(bytes[i] >> 4);
    }
  } else {
    for (int i = 0; i < kChunk / 8; ++i) {
      uint64_t eight = (LoadEight(bytes) >> (2 * i)) & EightOf(3);
      if constexpr (kBits == 3) {
        eight |= SpreadBits(bytes[kChunk / 4 + i]) << 2;
      }
      StoreEight(eight, codes + 8 * i);
    }
  }
}

// Eight codes of kBits bits each, side by side from the lowest bit on, as eight bytes: halves come apart, then
// quarters, then eighths.
template <int kBits>
constexpr uint64_t SpreadCodes(uint64_t codes) {
  constexpr uint64_t kFour = (uint64_t{1} << (4 * kBits)) - 1;
  constexpr uint64_t kTwo = ((uint64_t{1} << (2 * kBits)) - 1) * 0x0000000100000001U;
  constexpr uint64_t kOne = ((uint64_t{1} << kBits) - 1) * 0x0001000100010001U;
  codes = (codes & kFour) | ((codes >> (4 * kBits)) & kFour) << 32;
  codes = (codes & kTwo) | ((codes >> (2 * kBits)) & kTwo) << 16;
  return (codes & kOne) | ((codes >> kBits) & kOne) << 8;
}

template <int kBits, int kElements>
void PackCodes(const uint8_t* codes, uint8_t* bytes) {
  for (int at = 0; at < kElements; at += kChunk) {
    PackChunk<kBits>(codes + at, bytes + at / 8 * kBits);
  }
}

template <int kBits, int kElements>
void UnpackCodes(const uint8_t* bytes, uint8_t* codes) {
  for (int at = 0; at < kElements; at += kChunk) {
    UnpackChunk<kBits>(bytes + at / 8 * kBits, codes + at);
  }
}

}  // namespace causeway::kernels
