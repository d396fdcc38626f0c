// Weights repacked once, at load, for integer arithmetic: codes of sixteen rows side by side, so that one vector
// register holds four neighbours of k of each row and a product needs no shuffle and no sum across lanes.
//
// A panel is sixteen rows (the last one is filled up with zeros). k comes in groups of 32, a group in quads of four:
// quad j is k = 4j .. 4j + 3, [16 rows][4], one vector. Codes are unsigned, at most two planes of bits:
//   8 bits   quads 0 to 7
//   4        quad j in the low nibbles of vector j, quad j + 4 in the high ones
//   2        quads 4j to 4j + 3 in vector j, from the lowest bits on
//   1        quads 0 to 7 in one vector, from the lowest bit on
// Six bits are a plane of four and, above it, one of two; five are four and one; three are two and one. Of G groups,
//   codes    [G][plane][vectors]
//   params   [G / scale_groups][...]  what PackedParams says
//   supers   [G / 8][64 bytes]        with scales in bytes only: 16 half-precision d, then 16 dmin; of e4m3 scales one
//                                     float32 each for the groups that a block has, no minimum
// Q4_0 stays 4.5 bits a weight, Q8_0 8.5; Q4_K grows from 4.5 to 4.63, Q6_K from 6.56 to 7.13, Q5_K from 5.5 to 5.63.
// Every table of kernels reads this layout.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/packed_kinds.h"
#include "kernels/quantized_x.h"
#include "kernels/weight_view.h"

namespace causeway::kernels {

// Of what is described above. Any change of the packed bytes raises it: caches of older ones are then packed anew.
inline constexpr uint32_t kPackedVersion = 5;

// What a format is packed as.
struct Packing {
  PackedKind kind = PackedKind::kNone;
  int64_t scale_groups = 1;  // groups that share a scale
};
Packing PackingOf(FormatId format);
// How x is quantized beside such a weight.
constexpr XShape XShapeOf(const Packing& packing) {
  const PackedTraits& traits = TraitsOf(packing.kind);
  return {traits.wide ? kGroup * kWideGroups : kGroup, traits.wide_x() && !traits.wide ? kWideGroups : 1};
}

// Where the parts of a panel lie, in bytes.
struct PanelShape {
  int64_t params;
  int64_t supers;
  int64_t bytes;         // a multiple of a cache line
  int64_t param_groups;  // groups that share what lies at `params`
  int64_t super_groups;  // groups that share 64 bytes at `supers`
};
constexpr PanelShape ShapeOfPanel(const Packing& packing, int64_t columns) {
  const PackedTraits& traits = TraitsOf(packing.kind);
  const int64_t groups = columns / kGroup;
  const bool has_float_d = traits.params == PackedParams::kHalvesE4M3;
  const int64_t param_groups = has_float_d ? 1 : packing.scale_groups;
  const int64_t super_groups = has_float_d ? packing.scale_groups : kSuperGroups;
  const int64_t params = groups * traits.code_bytes();
  const int64_t supers = params + groups / param_groups * traits.param_bytes();
  const int64_t end = supers + (has_float_d || traits.supers() ? groups / super_groups * kSuperBytes : 0);
  return {params, supers, (end + 63) / 64 * 64, param_groups, super_groups};
}

// Bytes of a packed weight.
constexpr int64_t PackedBytes(const Packing& packing, int64_t rows, int64_t columns) {
  return (rows + kPanelRows - 1) / kPanelRows * ShapeOfPanel(packing, columns).bytes;
}

// One group of one row of a packed weight, as numbers: value = scale * code - minimum, of each half of the group (they
// differ only where halves have their own). For the slow tables and tests.
struct UnpackedGroup {
  float scales[2];
  float minima[2];
  int16_t codes[kGroup];
};
UnpackedGroup UnpackGroup(const WeightView& packed, int64_t row, int64_t group);

}  // namespace causeway::kernels
