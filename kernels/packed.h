// Weights repacked once, at load, for integer arithmetic: codes of sixteen rows side by side, so that one vector
// register holds four neighbours of k of each row and a product needs no shuffle and no sum across lanes.
//
// A panel is sixteen rows (the last one is filled up with zeros). Its bytes, with G = columns / 32 groups, of which
// `scale_groups` neighbours have one scale:
//   codes   [G][vectors][16 rows][4]   8 bit: vector j holds k = 4j .. 4j + 3 of the group, signed;
//                                      4 bit: vector j holds k = 4j .. 4j + 3 in the low nibbles, 16 more in the high
//                                      ones
//   params  [G / scale_groups][...]    16 half-precision scales; or 16 six-bit scales, then 16 six-bit minima, a byte
//                                      each; or 16 float32 scales, then 16 zero points, a byte each; or 16 signed
//                                      bytes that scale the first halves of the groups, then 16 of the second ones
//   supers  [G / 8][64 bytes]          with scales in bytes only: 16 half-precision d, then 16 dmin
// Four bits stay 4.5 bits a weight (4.31 with a zero point for 128), 8 bits 8.5 (8.31); Q4_K grows from 4.5 to 4.625.
// Five and six bits are bytes (Q5_K from 5.5 to 9.13, Q6_K from 6.56 to 9.13): decoding them on the way costs more.
// Every table of kernels reads this layout.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/thread_pool.h"
#include "kernels/weight_view.h"

namespace causeway::kernels {

// Of what is described above. Any change of the packed bytes raises it: caches of older ones are then packed anew.
inline constexpr uint32_t kPackedVersion = 3;

inline constexpr int64_t kPanelRows = 16;
inline constexpr int64_t kGroup = 32;       // values of k that share a scale, of the weight and of x alike
inline constexpr int64_t kSuperGroups = 8;  // groups that share d and dmin
inline constexpr int64_t kSuperBytes = 64;

enum class PackedKind : uint8_t {
  kNone,
  kBytes,          // scale * code, code in [-128, 127]
  kNibbles,        // scale * (code - 8)
  kNibblesSixBit,  // (d * scale) * code - (dmin * minimum)
  kBytesZero,      // scale * (code - zero), both less 128 so that they are signed bytes
  kNibblesZero,    // scale * (code - zero)
  kBytesSixBit,    // as kNibblesSixBit
  kBytesHalves,    // (d * scale of the half group) * code, code signed
};
constexpr bool HasSixBit(PackedKind kind) {
  return kind == PackedKind::kNibblesSixBit || kind == PackedKind::kBytesSixBit;
}
constexpr bool HasHalves(PackedKind kind) { return kind == PackedKind::kBytesHalves; }
constexpr bool HasSupers(PackedKind kind) { return HasSixBit(kind) || HasHalves(kind); }
constexpr bool HasBytes(PackedKind kind) {
  return kind != PackedKind::kNibbles && kind != PackedKind::kNibblesSixBit && kind != PackedKind::kNibblesZero;
}
constexpr bool HasZero(PackedKind kind) { return kind == PackedKind::kBytesZero || kind == PackedKind::kNibblesZero; }

// What a format is packed as.
struct Packing {
  PackedKind kind = PackedKind::kNone;  // kNone: it is used as it lies
  int64_t scale_groups = 1;             // groups that share a scale
};
Packing PackingOf(FormatId format);

constexpr int64_t GroupCodeBytes(PackedKind kind) { return kPanelRows * kGroup / (HasBytes(kind) ? 1 : 2); }
constexpr int64_t ParamBytes(PackedKind kind) { return HasZero(kind) ? kPanelRows * 5 : kPanelRows * 2; }

// Where the parts of a panel lie, in bytes.
struct PanelShape {
  int64_t params;
  int64_t supers;
  int64_t bytes;  // a multiple of a cache line
  int64_t scale_groups;
};
constexpr PanelShape ShapeOfPanel(const Packing& packing, int64_t columns) {
  const int64_t groups = columns / kGroup;
  const int64_t params = groups * GroupCodeBytes(packing.kind);
  const int64_t supers = params + groups / packing.scale_groups * ParamBytes(packing.kind);
  const int64_t end = supers + (HasSupers(packing.kind) ? groups / kSuperGroups * kSuperBytes : 0);
  return {params, supers, (end + 63) / 64 * 64, packing.scale_groups};
}

// Bytes of a packed weight.
constexpr int64_t PackedBytes(const Packing& packing, int64_t rows, int64_t columns) {
  return (rows + kPanelRows - 1) / kPanelRows * ShapeOfPanel(packing, columns).bytes;
}

// What a tile asks memory for while it computes: `each` lines a group from `next` on. By default what its own panels
// hold farther on.
struct Ahead {
  const std::byte* next = nullptr;
  int64_t each = -1;
};

// Packs rows into `target`, PackedBytes long and 64-byte aligned; in parallel, each source byte read once. The view
// must be in rows, of a format that is packed.
void PackPanels(const WeightView& rows, std::byte* target, ThreadPool& pool);

// One group of one row of a packed weight, as numbers: value = scale * code - minimum. For the slow tables and tests.
struct UnpackedGroup {
  float scale;         // of the first half
  float second_scale;  // of the second one: another only where halves have scales of their own
  float minimum;
  int16_t codes[kGroup];
};
UnpackedGroup UnpackGroup(const WeightView& packed, int64_t row, int64_t group);

}  // namespace causeway::kernels
