// Numbers that the codes of a packed weight stand for, where those are not the codes themselves. Sixteen of a table
// that nibbles index, or all that a small float can spell. What takes more than a byte is a long number, of 15 bits:
// kernels multiply its halves, high * 128 + low, apart, and add the integers.
#pragma once

#include <cstdint>

namespace causeway::kernels {

enum class PackedTable : uint8_t { kNone, kIQ4, kE2M1, kNF4, kFP4, kE4M3 };

constexpr bool IsLong(PackedTable table) { return table >= PackedTable::kNF4; }

// By the table, then by the nibble. NF4 is rounded to 1 / 16256 of its largest, which is 1; FP4 (whole 192nds) is
// exact.
inline constexpr int16_t kPackedNumbers[][16] = {
    {},
    {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113},
    {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12},  // twice what e2m1 spells
    {-16256, -11317, -8536, -6420, -4624, -3004, -1480, 0, 1294, 2616, 4001, 5493, 7164, 9146, 11752, 16256},
    {0, 84, 10752, 16128, 5376, 8064, 2688, 4032, 0, -84, -10752, -16128, -5376, -8064, -2688, -4032},
};
inline constexpr float kNF4Unit = 1.0F / 16256.0F;
inline constexpr float kFP4Unit = 1.0F / 16128.0F;

// 32 times what e4m3 spells, to the nearest whole number: from 2^-1 on exact, and the largest one is 14336. NaN is
// 15360.
inline constexpr float kE4M3Unit = 1.0F / 32.0F;
constexpr int E4M3Number(int code) {
  const int exponent = (code >> 3) & 0xf;
  const int mantissa = exponent == 0 ? code & 7 : 8 + (code & 7);
  const int power = exponent == 0 ? 1 : 1 << (exponent - 1);
  const int magnitude = (mantissa * 2048 * power + 16384) >> 15;
  return code >= 128 ? -magnitude : magnitude;
}

// Of any table but kNone.
constexpr int NumberOf(PackedTable table, int code) {
  return table == PackedTable::kE4M3 ? E4M3Number(code) : kPackedNumbers[static_cast<int>(table)][code];
}

// The numbers of a table that nibbles index, in bytes as kernels look them up: of long ones the halves, of others only
// `high`, which is the number, `offset` added.
struct NumberBytes {
  int8_t high[16];
  int8_t low[16];  // 0 to 127
};
constexpr NumberBytes BytesOfNumbers(PackedTable table, int offset) {
  NumberBytes bytes{};
  for (int i = 0; i < 16; ++i) {
    const int number = kPackedNumbers[static_cast<int>(table)][i];
    bytes.high[i] = static_cast<int8_t>((IsLong(table) ? number >> 7 : number) + offset);
    bytes.low[i] = static_cast<int8_t>(IsLong(table) ? number & 127 : 0);
  }
  return bytes;
}

}  // namespace causeway::kernels
