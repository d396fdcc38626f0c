// Lines of packed integers (packed_ints.h) whose words lie side by side, [words, lines]: sixteen at a time, as panels
// have them.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <span>

#include "base/check.h"
#include "model/quant/packed_ints.h"

namespace causeway::model::quant {

// Where a code begins in a line of words.
struct CodePlace {
  int64_t word;
  int shift;
};
template <int kBits>
CodePlace PlaceOf(const IntPacking& packing, int64_t code) {
  if constexpr (32 % kBits == 0) {  // either packing is the same; and dividing takes long
    constexpr uint32_t kCodes = 32 / kBits;
    const auto at = static_cast<uint32_t>(code);
    return {at / kCodes, static_cast<int>(at % kCodes) * kBits};
  }
  const bool shifts = (packing.codes & (packing.codes - 1)) == 0;
  const int64_t pattern =
      shifts ? code >> std::countr_zero(static_cast<unsigned>(packing.codes)) : code / packing.codes;
  const int bit = static_cast<int>(code - pattern * packing.codes) * packing.bits;
  return {pattern * packing.words + bit / 32, bit % 32};
}

// Words of four lines side by side: a vector, as g++ makes none of loops so short.
using FourLines [[gnu::vector_size(16)]] = uint32_t;
inline constexpr int64_t kQuadLines = 16;
using Lines = FourLines[kQuadLines / 4];

// kBits bits at `place` of lines whose words lie side by side, [words, lines]: of `count` lines from `line` on, zeros
// of lines that are not there; kWhole: of kQuadLines.
template <int kBits, bool kWhole>
inline __attribute__((always_inline)) void ReadLines(const std::byte* data, int64_t lines, int64_t line, int64_t count,
                                                     const CodePlace& place, Lines& codes) {
  constexpr int64_t kWordBytes = sizeof(uint32_t);
  constexpr auto kMask = static_cast<uint32_t>((uint64_t{1} << kBits) - 1);
  const std::byte* const first = data + (place.word * lines + line) * kWordBytes;
  const auto load = [&](const std::byte* source, Lines& words) {
    if constexpr (kWhole) {
      std::memcpy(words, source, sizeof(words));
    } else {
      std::memset(words, 0, sizeof(words));
      std::memcpy(words, source, static_cast<size_t>(count * kWordBytes));
    }
  };
  Lines low;
  load(first, low);
  __builtin_prefetch(first + sizeof(low));  // of the next lines: hardware follows few of so many streams
  if (32 % kBits == 0 || place.shift + kBits <= 32) {
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

template <int kBits, bool kWhole>
void UnpackQuadsOf(const std::byte* data, int64_t lines, int64_t line, int64_t count, const IntPacking& packing,
                   std::span<const int32_t> codes, uint32_t* quads) {
  const bool dense = packing.codes * kBits == packing.words * 32;
  for (size_t at = 0; at < codes.size(); at += 4, quads += kQuadLines) {
    const auto four = codes.subspan(at, std::min<size_t>(4, codes.size() - at));
    Lines quad = {};
    if (dense && four.size() == 4 && four[0] % 4 == 0 && four[1] == four[0] + 1 && four[2] == four[0] + 2 &&
        four[3] == four[0] + 3) {
      ReadLines<4 * kBits, kWhole>(data, lines, line, count, PlaceOf<kBits>(packing, four[0]), quad);
      for (FourLines& part : quad) {
        SpreadFour<kBits>(part);
      }
    } else {
      const auto add = [&](size_t k) __attribute__((always_inline)) {
        Lines read;
        ReadLines<kBits, kWhole>(data, lines, line, count, PlaceOf<kBits>(packing, four[k]), read);
        for (size_t i = 0; i < std::size(read); ++i) {
          quad[i] |= read[i] << static_cast<int>(8 * k);
        }
      };
      if (four.size() == 4) {
        add(0), add(1), add(2), add(3);
      } else {
        for (size_t k = 0; k < four.size(); ++k) {
          add(k);
        }
      }
    }
    std::memcpy(quads, quad, sizeof(quad));
  }
}

template <int kBits>
void UnpackQuadsOf(const std::byte* data, int64_t lines, int64_t line, int64_t count, const IntPacking& packing,
                   std::span<const int32_t> codes, uint32_t* quads) {
  count == kQuadLines ? UnpackQuadsOf<kBits, true>(data, lines, line, count, packing, codes, quads)
                      : UnpackQuadsOf<kBits, false>(data, lines, line, count, packing, codes, quads);
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
