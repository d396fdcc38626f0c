// Scales and minima of super-blocks as a chunk of a panel holds them: whole numbers of few bits, about as tight as in a
// file. Number n is of group n / 16, or of half n / 16 where halves have their own, and of row n % 16.
//   kSigned        [128] a signed byte
//   kHalves        [256] the same
//   kSixBit        [128] the scale, 0 to 63, and above it two upper bits of the minimum;
//                  then the four lower bits of the minimum,
//                  [64]: of number i and, above it, of i + 64
//   kHalvesSixBit  six bits, less 32: [128] the four lower ones, of number i and of i + 128; then the two upper ones,
//                  [64]: of number i, i + 64, i + 128 and i + 192
//   kHalvesMin     [256] the scale, 0 to 15, and above it the minimum
// Kernels spread them out, a chunk at a time (cpu/int8_spread.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/packed_kinds.h"

namespace causeway::kernels {

struct SuperNumber {
  int scale = 0;
  int minimum = 0;  // 0: the kind has none
};

// Where a number lies: of the group `at` of a chunk, and of its half `half`.
constexpr int64_t SuperNumberAt(const PackedTraits& traits, int64_t at, int64_t half, int64_t lane) {
  return (traits.halves() ? 2 * at + half : at) * kPanelRows + lane;
}

inline SuperNumber ReadSuperNumber(PackedParams params, const std::byte* numbers, int64_t n) {
  const auto byte = [&](int64_t at) { return static_cast<int>(numbers[at]); };
  switch (params) {
    case PackedParams::kSixBit: {
      const int lower = (byte(128 + n % 64) >> (n / 64 * 4)) & 15;
      return {byte(n) & 63, byte(n) >> 6 << 4 | lower};
    }
    case PackedParams::kHalvesSixBit: {
      const int lower = (byte(n % 128) >> (n / 128 * 4)) & 15;
      const int upper = (byte(128 + n % 64) >> (n / 64 * 2)) & 3;
      return {(upper << 4 | lower) - 32, 0};
    }
    case PackedParams::kHalvesMin: return {byte(n) & 15, byte(n) >> 4};
    default: return {static_cast<int8_t>(byte(n)), 0};
  }
}

// Of sixteen rows, in a group or in one of its halves.
struct SuperNumbers {
  uint8_t scales[kPanelRows];  // as signed bytes are
  uint8_t minima[kPanelRows];
};

// Writes numbers from the `n`th on. Those that share bytes are written in their order: the first clear what was there.
template <PackedParams kParams>
void WriteSuperNumbers(const SuperNumbers& of, int64_t n, std::byte* numbers) {
  const auto write = [&](int64_t at, int64_t shift, auto&& bits_of) {
    auto* const bytes = reinterpret_cast<uint8_t*>(numbers + at);
    const uint8_t kept = shift == 0 ? 0 : 0xff;
    for (int64_t lane = 0; lane < kPanelRows; ++lane) {
      bytes[lane] = static_cast<uint8_t>((bytes[lane] & kept) | bits_of(of.scales[lane], of.minima[lane]) << shift);
    }
  };
  if constexpr (kParams == PackedParams::kSixBit) {
    write(n, 0, [](int scale, int minimum) { return scale | minimum >> 4 << 6; });
    write(128 + n % 64, n / 64 * 4, [](int, int minimum) { return minimum & 15; });
  } else if constexpr (kParams == PackedParams::kHalvesSixBit) {
    write(n % 128, n / 128 * 4, [](int scale, int) { return (scale + 32) & 15; });
    write(128 + n % 64, n / 64 * 2, [](int scale, int) { return ((scale + 32) & 63) >> 4; });
  } else if constexpr (kParams == PackedParams::kHalvesMin) {
    write(n, 0, [](int scale, int minimum) { return scale | minimum << 4; });
  } else {
    write(n, 0, [](int scale, int) { return scale; });
  }
}

}  // namespace causeway::kernels
