// How linear reads weight rows of each format, and the order in which x is packed to match.
//
// A row is taken in blocks of kBlock values, a block in kVectors vectors. BF16 gives its even-numbered
// values first, then the odd ones: both unpack with one cheap operation and no shuffle, and x is packed in
// the same order, once per call. With AVX-512 BF16, long rows are not unpacked: x is rounded to BF16.
#pragma once

#include "kernels/cpu/vec.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr int64_t kBlock = 2 * kLanes;
constexpr int64_t kPadding = 16;  // values between packed rows: round distances share cache sets

struct F32Rows {
  using X = float;                        // as packed, x and unpacked weights alike
  using V = Vec;                          // as multiplied
  static constexpr int64_t kBytes = 4;    // of a value in the file
  static constexpr int64_t kGroup = 512;  // of k; a multiple of kBlock
  static constexpr int64_t kStride = kGroup + kPadding;
  static constexpr int kVectors = 2;          // of a block
  static constexpr int64_t kValues = kLanes;  // of a vector
  template <int I>
  static V LoadWeight(const std::byte* p) {
    return Load(reinterpret_cast<const float*>(p) + I * kLanes);
  }
  static V LoadPacked(const X* p) { return Load(p); }
  static void StorePacked(X* p, V v) { Store(p, v); }
  static Vec MulAdd(V x, V w, Vec acc) { return Fma(x, w, acc); }
  static void PackBlock(const float* x, X* packed) { std::memcpy(packed, x, kBlock * sizeof(float)); }
};

struct F16Rows : F32Rows {
  static constexpr int64_t kBytes = 2;
  template <int I>
  static V LoadWeight(const std::byte* p) {
    return LoadF16(p + I * kLanes * kBytes);
  }
};

struct BF16Rows : F32Rows {
  static constexpr int64_t kBytes = 2;
  template <int I>
  static V LoadWeight(const std::byte* p) {
    return I == 0 ? LoadBF16Even(p) : LoadBF16Odd(p);
  }
  static void PackBlock(const float* x, X* packed) {
    Vec even;
    Vec odd;
    Deinterleave(x, even, odd);
    Store(packed, even);
    Store(packed + kLanes, odd);
  }
};

#if defined(CAUSEWAY_ISA_AVX512_BF16)
struct BF16DotRows {
  using X = uint16_t;
  using V = VecBF16;
  static constexpr int64_t kBytes = 2;
  static constexpr int64_t kGroup = 1024;
  static constexpr int64_t kStride = kGroup + kPadding;
  static constexpr int kVectors = 1;
  static constexpr int64_t kValues = kBlock;
  template <int I>
  static V LoadWeight(const std::byte* p) {
    return LoadVecBF16(p);
  }
  static V LoadPacked(const X* p) { return LoadVecBF16(reinterpret_cast<const std::byte*>(p)); }
  static void StorePacked(X* p, V v) { StoreVecBF16(reinterpret_cast<std::byte*>(p), v); }
  static Vec MulAdd(V x, V w, Vec acc) { return DotBF16(acc, x, w); }
  static void PackBlock(const float* x, X* packed) { StorePacked(packed, RoundToBF16(Load(x), Load(x + kLanes))); }
};
#endif

// x of a call, packed: [groups][m][kStride], zero up to a whole block behind k.
template <typename Rows>
struct PackedX {
  const typename Rows::X* data;
  int64_t m;
  int64_t k;

  static int64_t Bytes(int64_t m, int64_t k) {
    return (k + Rows::kGroup - 1) / Rows::kGroup * m * Rows::kStride * static_cast<int64_t>(sizeof(typename Rows::X));
  }
  const typename Rows::X* Row(int64_t group, int64_t row) const { return data + (group * m + row) * Rows::kStride; }
  int64_t groups() const { return (k + Rows::kGroup - 1) / Rows::kGroup; }
  int64_t LengthOf(int64_t group) const { return group + 1 < groups() ? Rows::kGroup : k - group * Rows::kGroup; }
};

template <typename Rows>
void PackRow(const float* x, int64_t row, const PackedX<Rows>& to) {
  for (int64_t group = 0; group < to.groups(); ++group) {
    auto* const packed = const_cast<typename Rows::X*>(to.Row(group, row));
    const float* const source = x + group * Rows::kGroup;
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
