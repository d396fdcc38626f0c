// Weights repacked once, at load, for integer arithmetic: codes of sixteen rows side by side, so that one vector
// register holds four neighbours of k of each row and a product needs no shuffle and no sum across lanes.
//
// A panel is sixteen rows (the last one is filled up with zeros). Its bytes, with G = columns / 32 groups:
//   codes   [G][vectors][16 rows][4]   8 bit: vector j holds k = 4j .. 4j + 3 of the group, signed;
//                                      4 bit: vector j holds k = 4j .. 4j + 3 in the low nibbles, 16 more in the high
//                                      ones
//   params  [G][32 bytes]              16 half-precision scales; or 16 six-bit scales, then 16 six-bit minima, a byte
//   each supers  [G / 8][64 bytes]          with six-bit scales only: 16 half-precision d, then 16 dmin
// Four bits stay 4.5 bits a weight, 8 bits 8.5; Q4_K grows from 4.5 to 4.625. Every table of kernels reads this layout.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/thread_pool.h"
#include "kernels/weight_view.h"

namespace causeway::kernels {

inline constexpr int64_t kPanelRows = 16;
inline constexpr int64_t kGroup = 32;       // values of k that share a scale, of the weight and of x alike
inline constexpr int64_t kSuperGroups = 8;  // groups that share d and dmin
inline constexpr int64_t kParamBytes = 32;  // of a group
inline constexpr int64_t kSuperBytes = 64;

enum class PackedKind : uint8_t {
  kNone,
  kBytes,          // scale * code, code in [-128, 127]
  kNibbles,        // scale * (code - 8)
  kNibblesSixBit,  // (d * scale) * code - (dmin * minimum)
};

// What a format is packed as; kNone if it is used as it lies.
PackedKind PackedKindOf(FormatId format);

constexpr int64_t GroupCodeBytes(PackedKind kind) { return kPanelRows * kGroup / (kind == PackedKind::kBytes ? 1 : 2); }

// Where the parts of a panel lie, in bytes.
struct PanelShape {
  int64_t params;
  int64_t supers;
  int64_t bytes;  // a multiple of a cache line
};
constexpr PanelShape ShapeOfPanel(PackedKind kind, int64_t columns) {
  const int64_t groups = columns / kGroup;
  const int64_t params = groups * GroupCodeBytes(kind);
  const int64_t supers = params + groups * kParamBytes;
  const int64_t end = supers + (kind == PackedKind::kNibblesSixBit ? groups / kSuperGroups * kSuperBytes : 0);
  return {params, supers, (end + 63) / 64 * 64};
}

// Bytes of a packed weight.
constexpr int64_t PackedBytes(PackedKind kind, int64_t rows, int64_t columns) {
  return (rows + kPanelRows - 1) / kPanelRows * ShapeOfPanel(kind, columns).bytes;
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
  float scale;
  float minimum;
  int8_t codes[kGroup];
};
UnpackedGroup UnpackGroup(const WeightView& packed, int64_t row, int64_t group);

}  // namespace causeway::kernels
