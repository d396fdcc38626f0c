// Integers of 2 to 8 bits in 32-bit words, the first one lowest: without gaps (32 codes of 3 bits in 3 words), or as
// many as fit whole into each word (10 of 3 bits).
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

#include "base/check.h"
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

// Where a code begins in a line of words.
struct CodePlace {
  int64_t word;
  int shift;
};
inline CodePlace PlaceOf(const IntPacking& packing, int64_t code) {
  const bool shifts = (packing.codes & (packing.codes - 1)) == 0;  // most do, and dividing takes long
  const int64_t pattern =
      shifts ? code >> std::countr_zero(static_cast<unsigned>(packing.codes)) : code / packing.codes;
  const int bit = static_cast<int>(code - pattern * packing.codes) * packing.bits;
  return {pattern * packing.words + bit / 32, bit % 32};
}

// Words of four lines side by side: a vector, as g++ makes none of loops so short.
using FourLines [[gnu::vector_size(16)]] = uint32_t;
inline constexpr int64_t kQuadLines = 16;
using Lines = FourLines[kQuadLines / 4];

// kBits bits at `place` of lines whose words lie side by side, [words, lines]: of `count` lines from `line` on, at most
// kQuadLines; zeros of lines that are not there.
template <int kBits>
void ReadLines(const std::byte* data, int64_t lines, int64_t line, int64_t count, const CodePlace& place,
               Lines& codes) {
  constexpr int64_t kWordBytes = sizeof(uint32_t);
  constexpr auto kMask = static_cast<uint32_t>((uint64_t{1} << kBits) - 1);
  const std::byte* const first = data + (place.word * lines + line) * kWordBytes;
  const auto load = [&](const std::byte* source, Lines& words) {
    if (count == kQuadLines) {
      std::memcpy(words, source, sizeof(words));
    } else {
      std::memset(words, 0, sizeof(words));
      std::memcpy(words, source, static_cast<size_t>(count * kWordBytes));
    }
  };
  Lines low;
  load(first, low);
  __builtin_prefetch(first + sizeof(low));  // of the next lines: hardware follows few of so many streams
  if (place.shift + kBits <= 32) {
    for (size_t i = 0; i < std::size(low); ++i) {
      codes[i] = (low[i] >> place.shift) & kMask;
    }
  } else {
    Lines high;
    load(first + lines * kWordBytes, high);
    for (size_t i = 0; i < std::size(low); ++i) {
      codes[i] = (low[i] >> place.shift | high[i] << (32 - place.shift)) & kMask;
    }
  }
}

// Four codes of kBits bits in a byte each.
template <int kBits, typename Words>
void SpreadFour(Words& codes) {
  constexpr uint32_t kTwo = (1U << (2 * kBits)) - 1;
  constexpr uint32_t kOne = ((1U << kBits) - 1) * 0x00010001U;
  codes = (codes & kTwo) | (codes & (kTwo << (2 * kBits))) << (16 - 2 * kBits);
  codes = (codes & kOne) | (codes & (kOne << kBits)) << (8 - kBits);
}

template <int kBits>
void UnpackQuadsOf(const std::byte* data, int64_t lines, int64_t line, int64_t count, const IntPacking& packing,
                   std::span<const int32_t> codes, uint32_t* quads) {
  const bool dense = packing.codes * kBits == packing.words * 32;
  for (size_t at = 0; at < codes.size(); at += 4, quads += kQuadLines) {
    const auto four = codes.subspan(at, std::min<size_t>(4, codes.size() - at));
    Lines quad = {};
    if (dense && four.size() == 4 && four[0] % 4 == 0 && four[1] == four[0] + 1 && four[2] == four[0] + 2 &&
        four[3] == four[0] + 3) {
      ReadLines<4 * kBits>(data, lines, line, count, PlaceOf(packing, four[0]), quad);
      for (FourLines& part : quad) {
        SpreadFour<kBits>(part);
      }
    } else {
      for (size_t k = 0; k < four.size(); ++k) {
        Lines read;
        ReadLines<kBits>(data, lines, line, count, PlaceOf(packing, four[k]), read);
        for (size_t i = 0; i < std::size(read); ++i) {
          quad[i] |= read[i] << static_cast<int>(8 * k);
        }
      }
    }
    std::memcpy(quads, quad, sizeof(quad));
  }
}

// Some codes of such lines, as CodedMatrix wants them: [ceil(codes / 4)][16].
inline void UnpackQuads(const std::byte* data, int64_t lines, int64_t line, int64_t count, const IntPacking& packing,
                        std::span<const int32_t> codes, uint32_t* quads) {
  switch (packing.bits) {
    case 2: return UnpackQuadsOf<2>(data, lines, line, count, packing, codes, quads);
    case 3: return UnpackQuadsOf<3>(data, lines, line, count, packing, codes, quads);
    case 4: return UnpackQuadsOf<4>(data, lines, line, count, packing, codes, quads);
    case 5: return UnpackQuadsOf<5>(data, lines, line, count, packing, codes, quads);
    case 6: return UnpackQuadsOf<6>(data, lines, line, count, packing, codes, quads);
    case 7: return UnpackQuadsOf<7>(data, lines, line, count, packing, codes, quads);
    case 8: return UnpackQuadsOf<8>(data, lines, line, count, packing, codes, quads);
    default: CHECK(false);
  }
}

}  // namespace causeway::model::quant
