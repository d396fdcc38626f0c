// What transposing needs of AVX-512. Included by kv_transpose.h only.
#pragma once

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

using Wide = __m512i;
constexpr int kDimSquares = 2;  // of a tile

// 32 bytes of each of two rows. A broadcast under a mask is a load, where inserting would be a shuffle.
inline Wide LoadRows(const std::byte* first, const std::byte* second) {
  const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(first));
  const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(second));
  return _mm512_mask_broadcast_i64x4(_mm512_castsi256_si512(low), 0xf0, high);
}
// Of two squares of dims: each row's first and second lane, to `to` and `distance` bytes behind it.
inline void StoreColumns(std::byte* to, int64_t distance, Wide v) {
  const Wide turned = _mm512_shuffle_i64x2(v, v, 0xd8);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_castsi512_si256(turned));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + distance), _mm512_extracti64x4_epi64(turned, 1));
}

// The low or the high halves of a's and b's lanes, value by value in turn.
inline Wide Low16(Wide a, Wide b) { return _mm512_unpacklo_epi16(a, b); }
inline Wide High16(Wide a, Wide b) { return _mm512_unpackhi_epi16(a, b); }
inline Wide Low32(Wide a, Wide b) { return _mm512_unpacklo_epi32(a, b); }
inline Wide High32(Wide a, Wide b) { return _mm512_unpackhi_epi32(a, b); }
inline Wide Low64(Wide a, Wide b) { return _mm512_unpacklo_epi64(a, b); }
inline Wide High64(Wide a, Wide b) { return _mm512_unpackhi_epi64(a, b); }

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
