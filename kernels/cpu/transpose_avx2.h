// What transposing needs of AVX2. Included by kv_transpose.h only.
#pragma once

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

using Wide = __m256i;
constexpr int kWideLanes = 2;  // of 128 bits

inline __m128i LoadLane(const std::byte* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
// 16 bytes each at lanes[i] + offset.
inline Wide LoadLanes(const std::byte* const (&lanes)[kWideLanes], int64_t offset) {
  const Wide low = _mm256_castsi128_si256(LoadLane(lanes[0] + offset));
  return _mm256_inserti128_si256(low, LoadLane(lanes[1] + offset), 1);
}
inline void StoreWide(std::byte* p, Wide v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }

// The low or the high halves of a's and b's lanes, value by value in turn.
inline Wide Low16(Wide a, Wide b) { return _mm256_unpacklo_epi16(a, b); }
inline Wide High16(Wide a, Wide b) { return _mm256_unpackhi_epi16(a, b); }
inline Wide Low32(Wide a, Wide b) { return _mm256_unpacklo_epi32(a, b); }
inline Wide High32(Wide a, Wide b) { return _mm256_unpackhi_epi32(a, b); }
inline Wide Low64(Wide a, Wide b) { return _mm256_unpacklo_epi64(a, b); }
inline Wide High64(Wide a, Wide b) { return _mm256_unpackhi_epi64(a, b); }

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
