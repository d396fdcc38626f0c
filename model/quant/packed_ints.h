// Integers of 2 to 8 bits in 32-bit words, the first one lowest: without gaps (32 codes of 3 bits in 3 words), or as
// many as fit whole into each word (10 of 3 bits).
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

namespace causeway::model::quant {

// Words and codes after which the pattern repeats.
struct IntPacking {
  int bits;
  int words;
  int codes;

  static IntPacking Dense(int bits) {
    return 32 % bits == 0 ? IntPacking{bits, 1, 32 / bits} : IntPacking{bits, bits, 32};
  }
  static IntPacking Padded(int bits) { return {bits, 1, 32 / bits}; }
  // The one that puts `codes` into so many words; dense where both do.
  static std::optional<IntPacking> For(int bits, int64_t codes, int64_t words) {
    if (words == (codes * bits + 31) / 32) {
      return Dense(bits);
    }
    const IntPacking padded = Padded(bits);
    return words == (codes + padded.codes - 1) / padded.codes ? std::optional(padded) : std::nullopt;
  }
};

// `count` codes from a line of words that lie `stride` words apart in `data`, the first one at `first`.
inline void UnpackInts(std::span<const std::byte> data, int64_t first, int64_t stride, int64_t words,
                       const IntPacking& packing, int64_t count, uint8_t* codes) {
  const uint32_t mask = (1U << packing.bits) - 1;
  const std::byte* source = data.data() + first * static_cast<int64_t>(sizeof(uint32_t));
  for (int64_t at = 0, word = 0; at < count; at += packing.codes, word += packing.words) {
    uint32_t unit[9] = {};
    for (int64_t i = 0; i < std::min<int64_t>(packing.words, words - word); ++i) {
      std::memcpy(&unit[i], source + (word + i) * stride * static_cast<int64_t>(sizeof(uint32_t)), sizeof(uint32_t));
    }
    const auto here = static_cast<int>(std::min<int64_t>(packing.codes, count - at));
    for (int i = 0; i < here; ++i) {
      const int bit = i * packing.bits;
      const uint64_t pair = unit[bit / 32] | static_cast<uint64_t>(unit[bit / 32 + 1]) << 32;
      codes[at + i] = static_cast<uint8_t>((pair >> (bit % 32)) & mask);
    }
  }
}

}  // namespace causeway::model::quant
