// What transposing needs of AVX2. Included by kv_transpose.h only.
#pragma once

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

using Wide = __m256i;
constexpr int kRowSquares = 2;  // of a tile
constexpr int kDimSquares = 1;

// 16 bytes of each of two rows.
inline Wide LoadRows(const std::byte* first, const std::byte* second) {
  const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(first));
  const __m128i high = _mm_loadu_si128(reinterpret_cast<const __m128i*>(second));
  return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}
inline void StoreColumns(std::byte* to, int64_t /*distance*/, Wide v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), v);
}

// The low or the high halves of a's and b's lanes, value by value in turn.
inline Wide Low16(Wide a, Wide b) { return _mm256_unpacklo_epi16(a, b); }
inline Wide High16(Wide a, Wide b) { return _mm256_unpackhi_epi16(a, b); }
inline Wide Low32(Wide a, Wide b) { return _mm256_unpacklo_epi32(a, b); }
inline Wide High32(Wide a, Wide b) { return _mm256_unpackhi_epi32(a, b); }
inline Wide Low64(Wide a, Wide b) { return _mm256_unpacklo_epi64(a, b); }
inline Wide High64(Wide a, Wide b) { return _mm256_unpackhi_epi64(a, b); }

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
