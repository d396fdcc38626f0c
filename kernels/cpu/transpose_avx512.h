// What transposing needs of AVX-512. Included by kv_transpose.h only.
#pragma once

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

using Wide = __m512i;
constexpr int kWideLanes = 4;  // of 128 bits

inline __m128i LoadLane(const std::byte* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
// 16 bytes each at lanes[i] + offset. Broadcasts under a mask: loads, where inserting would be a shuffle.
inline Wide LoadLanes(const std::byte* const (&lanes)[kWideLanes], int64_t offset) {
  Wide v = _mm512_castsi128_si512(LoadLane(lanes[0] + offset));
  v = _mm512_mask_broadcast_i32x4(v, 0x00f0, LoadLane(lanes[1] + offset));
  v = _mm512_mask_broadcast_i32x4(v, 0x0f00, LoadLane(lanes[2] + offset));
  return _mm512_mask_broadcast_i32x4(v, 0xf000, LoadLane(lanes[3] + offset));
}
inline void StoreWide(std::byte* p, Wide v) { _mm512_storeu_si512(p, v); }

// The low or the high halves of a's and b's lanes, value by value in turn.
inline Wide Low16(Wide a, Wide b) { return _mm512_unpacklo_epi16(a, b); }
inline Wide High16(Wide a, Wide b) { return _mm512_unpackhi_epi16(a, b); }
inline Wide Low32(Wide a, Wide b) { return _mm512_unpacklo_epi32(a, b); }
inline Wide High32(Wide a, Wide b) { return _mm512_unpackhi_epi32(a, b); }
inline Wide Low64(Wide a, Wide b) { return _mm512_unpacklo_epi64(a, b); }
inline Wide High64(Wide a, Wide b) { return _mm512_unpackhi_epi64(a, b); }

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
