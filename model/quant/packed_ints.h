// Integers of 2 to 8 bits in 32-bit words, the first one lowest: without gaps (32 codes of 3 bits in 3 words), or as
// many as fit whole into each word (10 of 3 bits).
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>

#include "kernels/quant/group_codes.h"

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

// Two codes of four bits in each byte: the low half first, or the high one.
inline void UnpackHalves(const std::byte* source, int64_t bytes, bool low_first, uint8_t* codes) {
  const auto* const from = reinterpret_cast<const uint8_t*>(source);
  if (low_first) {
    for (int64_t i = 0; i < bytes; ++i) {
      codes[2 * i] = from[i] & 0xf;
      codes[2 * i + 1] = from[i] >> 4;
    }
  } else {
    for (int64_t i = 0; i < bytes; ++i) {
      codes[2 * i] = from[i] >> 4;
      codes[2 * i + 1] = from[i] & 0xf;
    }
  }
}

// Dense codes are one stream of bits: eight of them are kBits bytes. Requires `count` a multiple of 8.
template <int kBits>
void UnpackStream(const std::byte* source, int64_t count, uint8_t* codes) {
  if constexpr (kBits == 8) {
    std::memcpy(codes, source, static_cast<size_t>(count));
  } else if constexpr (kBits == 4) {
    UnpackHalves(source, count / 2, true, codes);
  } else {
    for (int64_t at = 0; at < count; at += 8, source += kBits) {
      uint64_t eight = 0;
      std::memcpy(&eight, source, kBits);
      kernels::StoreEight(kernels::SpreadCodes<kBits>(eight), codes + at);
    }
  }
}

// Some codes of words side by side, of either packing.
inline void UnpackFew(const std::byte* source, int64_t words, const IntPacking& packing, int64_t count,
                      uint8_t* codes) {
  const uint32_t mask = (1U << packing.bits) - 1;
  for (int64_t at = 0, word = 0; at < count; at += packing.codes, word += packing.words) {
    uint32_t unit[9] = {};
    const int64_t there = std::min<int64_t>(packing.words, words - word);
    std::memcpy(unit, source + word * static_cast<int64_t>(sizeof(uint32_t)),
                static_cast<size_t>(there) * sizeof(uint32_t));
    const auto here = static_cast<int>(std::min<int64_t>(packing.codes, count - at));
    for (int i = 0; i < here; ++i) {
      const int bit = i * packing.bits;
      const uint64_t pair = unit[bit / 32] | static_cast<uint64_t>(unit[bit / 32 + 1]) << 32;
      codes[at + i] = static_cast<uint8_t>((pair >> (bit % 32)) & mask);
    }
  }
}

inline void UnpackLine(const std::byte* source, int64_t words, const IntPacking& packing, int64_t count,
                       uint8_t* codes) {
  const bool dense = packing.codes * packing.bits == packing.words * 32;
  const int64_t whole = dense ? count / packing.codes * packing.codes : 0;
  if (whole % 8 != 0) {
    return UnpackFew(source, words, packing, count, codes);
  }
  switch (whole == 0 ? 0 : packing.bits) {
    case 2: UnpackStream<2>(source, whole, codes); break;
    case 3: UnpackStream<3>(source, whole, codes); break;
    case 4: UnpackStream<4>(source, whole, codes); break;
    case 5: UnpackStream<5>(source, whole, codes); break;
    case 6: UnpackStream<6>(source, whole, codes); break;
    case 7: UnpackStream<7>(source, whole, codes); break;
    case 8: UnpackStream<8>(source, whole, codes); break;
    default: return UnpackFew(source, words, packing, count, codes);
  }
  const int64_t done = whole / packing.codes * packing.words;
  UnpackFew(source + done * static_cast<int64_t>(sizeof(uint32_t)), words - done, packing, count - whole,
            codes + whole);
}

}  // namespace causeway::model::quant
