// How linear reads weight rows of each format, and the order in which x is packed to match.
//
// A row is taken in blocks of kBlock values, a block in kVectors vectors. BF16 gives its even-numbered
// values first, then the odd ones: both unpack with one cheap operation and no shuffle, and x is packed in
// the same order, once per call. With AVX-512 BF16 neither side is unpacked: x is rounded to BF16.
#pragma once

#include "kernels/cpu/vec.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr int64_t kGroup = 512;              // of k; a multiple of kBlock
constexpr int64_t kBlock = 2 * kLanes;
constexpr int64_t kPadding = 16;             // values between packed rows: round distances share cache sets
constexpr int64_t kStride = kGroup + kPadding;

struct F32Rows {
  using X = float;     // as packed
  using W = Vec;       // as multiplied
  static constexpr int64_t kBytes = 4;
  static constexpr int kVectors = 2;
  static constexpr bool kUnpacks = true;  // multiplies float32; several tiles of x share one unpacking
  template <int V>
  static W LoadW(const std::byte* p) { return Load(reinterpret_cast<const float*>(p) + V * kLanes); }
  static Vec MulAdd(const X* x, W w, Vec acc) { return Fma(Load(x), w, acc); }
  static void PackBlock(const float* x, X* packed) {
    std::memcpy(packed, x, kBlock * sizeof(float));
  }
};

struct F16Rows : F32Rows {
  static constexpr int64_t kBytes = 2;
  template <int V>
  static W LoadW(const std::byte* p) { return LoadF16(p + V * kLanes * kBytes); }
};

#if defined(CAUSEWAY_ISA_AVX512_BF16)
struct BF16Rows {
  using X = uint16_t;
  using W = VecBF16;
  static constexpr int64_t kBytes = 2;
  static constexpr int kVectors = 1;
  static constexpr bool kUnpacks = false;
  template <int V>
  static W LoadW(const std::byte* p) { return LoadVecBF16(p); }
  static Vec MulAdd(const X* x, W w, Vec acc) {
    return DotBF16(acc, LoadVecBF16(reinterpret_cast<const std::byte*>(x)), w);
  }
  static void PackBlock(const float* x, X* packed) {
    for (int64_t i = 0; i < kBlock; ++i) {
      uint32_t bits;
      std::memcpy(&bits, x + i, sizeof(bits));
      const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
      const uint32_t quiet = (bits >> 16) | 0x40;
      packed[i] = static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? quiet : rounded);
    }
  }
};
#else
struct BF16Rows {
  using X = float;
  using W = Vec;
  static constexpr int64_t kBytes = 2;
  static constexpr int kVectors = 2;
  static constexpr bool kUnpacks = true;
  template <int V>
  static W LoadW(const std::byte* p) { return V == 0 ? LoadBF16Even(p) : LoadBF16Odd(p); }
  static Vec MulAdd(const X* x, W w, Vec acc) { return Fma(Load(x), w, acc); }
  static void PackBlock(const float* x, X* packed) {
    Vec even;
    Vec odd;
    Deinterleave(x, even, odd);
    Store(packed, even);
    Store(packed + kLanes, odd);
  }
};
#endif

// x of a call, packed: [groups][m][kStride], zero up to a whole block behind k.
template <typename Rows>
struct PackedX {
  const typename Rows::X* data;
  int64_t m;
  int64_t k;

  static int64_t Bytes(int64_t m, int64_t k) {
    return (k + kGroup - 1) / kGroup * m * kStride * static_cast<int64_t>(sizeof(typename Rows::X));
  }
  const typename Rows::X* Row(int64_t group, int64_t row) const { return data + (group * m + row) * kStride; }
  int64_t groups() const { return (k + kGroup - 1) / kGroup; }
  int64_t LengthOf(int64_t group) const { return group + 1 < groups() ? kGroup : k - group * kGroup; }
};

template <typename Rows>
void PackRow(const float* x, int64_t row, const PackedX<Rows>& to) {
  for (int64_t group = 0; group < to.groups(); ++group) {
    auto* const packed = const_cast<typename Rows::X*>(to.Row(group, row));
    const float* const source = x + group * kGroup;
    const int64_t length = to.LengthOf(group);
    int64_t i = 0;
    for (; i + kBlock <= length; i += kBlock) {
      Rows::PackBlock(source + i, packed + i);
    }
    if (i < length) {
      float block[kBlock] = {};
      std::memcpy(block, source + i, static_cast<size_t>(length - i) * sizeof(float));
      Rows::PackBlock(block, packed + i);
    }
  }
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
