// Small floats as integers and as scales. What a vector of e4m3 codes stands for, 32 times, is (mantissa * 2048 * power
// + 16384) >> 15 (kernels/packed_numbers.h), which one instruction computes for pairs of bytes. Included by
// int8_codes.h only.
#pragma once

#include "kernels/packed.h"
#include "kernels/quant/group_blocks.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

// By the exponent: the mantissa's leading bit, eight times, and the bytes of the power.
struct E4M3Tables {
  int8_t leading[16];
  int8_t power_low[16];
  int8_t power_high[16];
};
constexpr E4M3Tables MakeE4M3Tables() {
  E4M3Tables tables{};
  for (int exponent = 0; exponent < 16; ++exponent) {
    const int power = exponent == 0 ? 1 : 1 << (exponent - 1);
    tables.leading[exponent] = exponent == 0 ? 0 : 64;
    tables.power_low[exponent] = static_cast<int8_t>(power & 0xff);
    tables.power_high[exponent] = static_cast<int8_t>(power >> 8);
  }
  return tables;
}
inline constexpr E4M3Tables kE4M3Tables = MakeE4M3Tables();

#if defined(CAUSEWAY_ISA_AVX512_VNNI) && defined(CAUSEWAY_EMULATE_AVX512)

// SIMDe lacks what the real ones need.
inline void SplitE4M3(Bytes codes, Bytes& high, Bytes& low) {
  alignas(64) uint8_t bytes[64];
  alignas(64) uint8_t highs[64];
  alignas(64) uint8_t lows[64];
  _mm512_storeu_si512(bytes, codes);
  for (int i = 0; i < 64; ++i) {
    const int number = E4M3Number(bytes[i]);
    highs[i] = static_cast<uint8_t>(number >> 7);
    lows[i] = static_cast<uint8_t>(number & 127);
  }
  high = _mm512_loadu_si512(highs);
  low = _mm512_loadu_si512(lows);
}
inline Floats E4M3Floats(const std::byte* p, int64_t /*part*/) {
  float values[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    values[i] = E4M3ToFloat(static_cast<uint8_t>(p[i]));
  }
  return Load(values);
}

#else

// Pairs of bytes, of the lower or the upper halves of all lanes: the number.
inline Bytes E4M3Numbers(Bytes mantissas, Bytes powers, Bytes signs) {
  const Bytes minus = ShiftPairsRight<15>(signs);
  return SubtractPairs(Xor(MultiplyRounded(mantissas, powers), minus), minus);
}
// Codes to halves of their numbers: number >> 7, signed, and the seven bits below.
CAUSEWAY_INLINE void SplitE4M3(Bytes codes, Bytes& high, Bytes& low) {
  const Bytes exponents = And(ShiftRight<3>(codes), 0xf);
  const Bytes mantissas = Or(And(ShiftLeft<3>(codes), 0x38), LookUp(kE4M3Tables.leading, exponents));
  const Bytes power_low = LookUp(kE4M3Tables.power_low, exponents);
  const Bytes power_high = LookUp(kE4M3Tables.power_high, exponents);
  const Bytes zero = AllInts(0);
  const Bytes first = E4M3Numbers(InterleaveLower(zero, mantissas), InterleaveLower(power_low, power_high),
                                  InterleaveLower(zero, codes));
  const Bytes second = E4M3Numbers(InterleaveUpper(zero, mantissas), InterleaveUpper(power_low, power_high),
                                   InterleaveUpper(zero, codes));
  high = NarrowSigned(ShiftPairsRight<7>(first), ShiftPairsRight<7>(second));
  low = NarrowSigned(AndPairs(first, 127), AndPairs(second, 127));
}
// E4m3 bytes as floats, but for NaN: the bits, moved to where a float has them, are 2^-120 times the number.
inline Floats E4M3Floats(const std::byte* p, int64_t part) {
  const Ints bytes = BytesAt(p, part);
  const Ints sign = ShiftIntsLeft<24>(AndInts(bytes, 0x80));
  const Ints magnitude = ShiftIntsLeft<20>(AndInts(bytes, 0x7f));
  return Multiply(FloatsOfBits(Or(sign, magnitude)), AllLanes(0x1p120F));
}

#endif

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
