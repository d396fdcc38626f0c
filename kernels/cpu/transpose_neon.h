// What transposing needs of NEON. Included by kv_transpose.h only.
#pragma once

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

using Wide = uint8x16_t;
constexpr int kRowSquares = 1;  // of a tile
constexpr int kDimSquares = 1;

// 16 bytes of the first row: one square of rows has no second.
inline Wide LoadRows(const std::byte* first, const std::byte* /*second*/) {
  return vld1q_u8(reinterpret_cast<const uint8_t*>(first));
}
inline void StoreColumns(std::byte* to, int64_t /*distance*/, Wide v) { vst1q_u8(reinterpret_cast<uint8_t*>(to), v); }

inline uint16x8_t As16(Wide v) { return vreinterpretq_u16_u8(v); }
inline uint32x4_t As32(Wide v) { return vreinterpretq_u32_u8(v); }
inline uint64x2_t As64(Wide v) { return vreinterpretq_u64_u8(v); }
// The low or the high halves of a and b, value by value in turn.
inline Wide Low16(Wide a, Wide b) { return vreinterpretq_u8_u16(vzip1q_u16(As16(a), As16(b))); }
inline Wide High16(Wide a, Wide b) { return vreinterpretq_u8_u16(vzip2q_u16(As16(a), As16(b))); }
inline Wide Low32(Wide a, Wide b) { return vreinterpretq_u8_u32(vzip1q_u32(As32(a), As32(b))); }
inline Wide High32(Wide a, Wide b) { return vreinterpretq_u8_u32(vzip2q_u32(As32(a), As32(b))); }
inline Wide Low64(Wide a, Wide b) { return vreinterpretq_u8_u64(vzip1q_u64(As64(a), As64(b))); }
inline Wide High64(Wide a, Wide b) { return vreinterpretq_u8_u64(vzip2q_u64(As64(a), As64(b))); }

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
