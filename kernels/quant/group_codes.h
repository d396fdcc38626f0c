// How the codes of a group block lie: chunks of 32, each 4 * bits bytes. Four bits as in ggml's blocks, the low halves
// of the bytes first; two bits alike, in quarters; three bits as two bits, then a word of the third ones.
#pragma once

#include <cstdint>
#include <cstring>

namespace causeway::kernels {

inline constexpr int kChunk = 32;

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
    for (int i = 0; i < kChunk / 4; ++i) {
      bytes[i] = static_cast<uint8_t>((codes[i] & 3) | ((codes[i + 8] & 3) << 2) | ((codes[i + 16] & 3) << 4) |
                                      ((codes[i + 24] & 3) << 6));
    }
    if constexpr (kBits == 3) {
      uint32_t thirds = 0;
      for (int i = 0; i < kChunk; ++i) {
        thirds |= static_cast<uint32_t>((codes[i] >> 2) & 1) << i;
      }
      std::memcpy(bytes + kChunk / 4, &thirds, sizeof(thirds));
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
    for (int i = 0; i < kChunk / 4; ++i) {
      codes[i] = bytes[i] & 3;
      codes[i + 8] = (bytes[i] >> 2) & 3;
      codes[i + 16] = (bytes[i] >> 4) & 3;
      codes[i + 24] = static_cast<uint8_t>(bytes[i] >> 6);
    }
    if constexpr (kBits == 3) {
      uint32_t thirds;
      std::memcpy(&thirds, bytes + kChunk / 4, sizeof(thirds));
      for (int i = 0; i < kChunk; ++i) {
        codes[i] = static_cast<uint8_t>(codes[i] | ((thirds >> i) & 1) << 2);
      }
    }
  }
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
