// What transposing needs of AVX-512. Included by kv_transpose.h only.
#pragma once

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

using Wide = __m512i;
constexpr int kRowSquares = 2;  // of a tile
constexpr int kDimSquares = 2;

// 32 bytes of each of two rows. A broadcast under a mask is a load, where inserting would be a shuffle.
inline Wide LoadRows(const std::byte* first, const std::byte* second) {
  const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(first));
  const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(second));
  return _mm512_mask_broadcast_i64x4(_mm512_castsi256_si512(low), 0xf0, high);
}
// Columns of two squares of dims, to `to` and `distance` bytes behind it.
inline void StoreColumns(std::byte* to, int64_t distance, Wide v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_castsi512_si256(v));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + distance), _mm512_extracti64x4_epi64(v, 1));
}

// The low or the high halves of a's and b's lanes, value by value in turn.
inline Wide Low16(Wide a, Wide b) { return _mm512_unpacklo_epi16(a, b); }
inline Wide High16(Wide a, Wide b) { return _mm512_unpackhi_epi16(a, b); }
inline Wide Low32(Wide a, Wide b) { return _mm512_unpacklo_epi32(a, b); }
inline Wide High32(Wide a, Wide b) { return _mm512_unpackhi_epi32(a, b); }
// The same, and the lanes of each square of dims side by side.
inline Wide Low64(Wide a, Wide b) {
  return _mm512_permutex2var_epi64(a, _mm512_set_epi64(14, 6, 10, 2, 12, 4, 8, 0), b);
}
inline Wide High64(Wide a, Wide b) {
  return _mm512_permutex2var_epi64(a, _mm512_set_epi64(15, 7, 11, 3, 13, 5, 9, 1), b);
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
