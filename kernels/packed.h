// Weights repacked once, at load, for integer arithmetic: codes of sixteen rows side by side, so that one vector
// register holds four neighbours of k of each row and a product needs no shuffle and no sum across lanes.
//
// A panel is sixteen rows (the last one is filled up with zeros). k comes in groups of 32, a group in quads of four:
// quad j is k = 4j .. 4j + 3, [16 rows][4], one vector. Codes are unsigned, at most two planes of bits:
//   8 bits   quads 0 to 7
//   4        quad j in the low nibbles of vector j, quad j + 4 in the high ones
//   2        quads 4j to 4j + 3 in vector j, from the lowest bits on
//   1        quads 0 to 7 in one vector, from the lowest bit on
// Six bits are a plane of four and, above it, one of two; five are four and one; three are two and one. A panel is a
// row of chunks of G groups, the last one perhaps of fewer: what is multiplied together lies together, and a row of x
// reads one stream, which hardware follows by itself. (Beside a second one, params behind the codes of a whole panel, a
// Zen 4 reached 92 % of the rate at which it reads, not 98; of a quick memory 66, not 82.)
//   params   [G / scale_groups][...]  what PackedParams says; of super-blocks as packed_supers.h does
//   supers   [G / 8][64 bytes]        of super-blocks: 16 half-precision d, then 16 dmin; of e4m3 scales one float32
//                                     each for the groups that a block has, no minimum
//   codes    [G][plane][vectors]      from a multiple of a cache line on
// Nearly all formats take what they take in a file; Q3_K 3.5 bits for 3.44, IQ4_XS 4.38 for 4.25, Q6_K 6.63 for 6.56,
// MXFP4 4.5 for 4.25. Every table of kernels reads this layout.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/packed_kinds.h"
#include "kernels/quantized_x.h"
#include "kernels/weight_view.h"

namespace causeway::kernels {

// Of what is described above. Any change of the packed bytes raises it: caches of older ones are then packed anew.
inline constexpr uint32_t kPackedVersion = 7;

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

// Where the parts of a chunk lie, from its beginning on, in bytes. Params come first.
struct ChunkShape {
  int64_t supers;
  int64_t codes;
  int64_t bytes;
};

// How a panel lies, in bytes.
struct PanelShape {
  int64_t groups;
  int64_t chunk_groups;  // of a whole chunk
  int64_t code_bytes;    // of a group
  int64_t param_bytes;   // of the groups that share params
  int64_t param_groups;  // so many
  int64_t super_groups;  // groups that share kSuperBytes
  ChunkShape whole;      // chunks but the last one, which is shorter where chunk_groups does not divide all groups
  ChunkShape last;
  int64_t bytes;  // of the panel

  constexpr const ChunkShape& Chunk(int64_t chunk) const { return (chunk + 1) * chunk_groups <= groups ? whole : last; }
};

// Where a panel holds what belongs to a group, from its beginning on.
struct GroupPlace {
  int64_t begin, at;  // of its chunk, and in it
  int64_t params, super, codes;

  constexpr GroupPlace(const PanelShape& shape, int64_t group) {
    const int64_t chunk = group / shape.chunk_groups;
    begin = chunk * shape.whole.bytes;
    at = group % shape.chunk_groups;
    params = begin + at / shape.param_groups * shape.param_bytes;
    super = begin + shape.Chunk(chunk).supers + at / shape.super_groups * kSuperBytes;
    codes = begin + shape.Chunk(chunk).codes + at * shape.code_bytes;
  }
};

constexpr PanelShape ShapeOfPanel(const Packing& packing, int64_t columns) {
  const PackedTraits& traits = TraitsOf(packing.kind);
  const bool has_float_d = traits.params == PackedParams::kHalvesE4M3;
  const int64_t param_groups = has_float_d ? 1 : packing.scale_groups;
  const int64_t super_groups = has_float_d ? packing.scale_groups : kSuperGroups;
  const auto chunk = [&](int64_t groups) -> ChunkShape {
    const int64_t supers = groups / param_groups * traits.param_bytes();
    const int64_t end = supers + (has_float_d || traits.supers() ? groups / super_groups * kSuperBytes : 0);
    const int64_t codes = (end + 63) / 64 * 64;
    return {supers, codes, (codes + groups * traits.code_bytes() + 63) / 64 * 64};
  };
  const int64_t groups = columns / kGroup;
  const int64_t most = traits.chunk_groups();
  const ChunkShape whole = chunk(most);
  const ChunkShape last = chunk(groups % most);
  return {.groups = groups,
          .chunk_groups = most,
          .code_bytes = traits.code_bytes(),
          .param_bytes = traits.param_bytes(),
          .param_groups = param_groups,
          .super_groups = super_groups,
          .whole = whole,
          .last = last,
          .bytes = groups / most * whole.bytes + last.bytes};
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
