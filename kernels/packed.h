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

#include "base/thread_pool.h"
#include "kernels/packed_numbers.h"
#include "kernels/weight_view.h"

namespace causeway::kernels {

// Of what is described above. Any change of the packed bytes raises it: caches of older ones are then packed anew.
inline constexpr uint32_t kPackedVersion = 4;

inline constexpr int64_t kPanelRows = 16;
inline constexpr int64_t kGroup = 32;
inline constexpr int kQuads = 8;            // of a group
inline constexpr int64_t kWideGroups = 4;   // groups that share a scale of a wide weight, and of x with it
inline constexpr int64_t kSuperGroups = 8;  // groups that share d and dmin
inline constexpr int64_t kSuperBytes = 64;

// What a panel holds for a group (or for the groups that share a scale), 16 numbers of each, in this order:
enum class PackedParams : uint8_t {
  kScale,       // half: scale * (code - offset)
  kMinimum,     // two halves: scale * code - minimum
  kSixBit,      // two bytes, signed and not: (d * scale) * (code - offset) - (dmin * minimum)
  kHalves,      // two signed bytes, of the first and of the second sixteen k: (d * scale) * (code - offset)
  kHalvesMin,   // the same and two bytes: (d * scale) * code - (dmin * minimum)
  kZero,        // float32, and a byte: scale * (code - zero)
  kFloat,       // float32: scale * (code - offset)
  kHalvesE4M3,  // two e4m3 bytes, of both halves: (d * scale) * (code - offset), d a float32
  kHalvesZero,  // two halves and two zero points in half precision: scale * code - (scale * zero)
};

enum class PackedKind : uint8_t {
  kNone,  // it is used as it lies
  kBytes,
  kNibbles,
  kFives,
  kNibblesMinimum,
  kFivesMinimum,
  kPairsHalves,
  kThreesHalves,
  kNibblesSixBit,
  kFivesSixBit,
  kSixesHalves,
  kTable,
  kTableSixBit,
  kTableFloat,
  kBytesZero,
  kNibblesZero,
  kThreesZero,
  kPairsZero,
  kBytesWide,
  kNibblesWide,
  kThreesWide,
  kPairsWide,
  kTableHalves,
  kThreesHalvesZero,
  kTableNF4,
  kTableFP4,
  kTableE4M3,
  kTableE4M3Wide,
};

// A kind as the kernels see it.
struct PackedTraits {
  PackedKind kind;
  int bits;  // of a code
  PackedParams params;
  int offset;  // taken off every code; of a table: added to its numbers where a kernel needs them unsigned
  PackedTable table = PackedTable::kNone;
  bool wide = false;  // kWideGroups groups, no fewer, share a scale, and x is quantized in as many

  constexpr int low_bits() const { return bits == 8 ? 8 : bits >= 4 ? 4 : 2; }  // of the lower plane
  constexpr int high_bits() const { return bits - low_bits(); }
  constexpr bool long_numbers() const { return IsLong(table); }
  // Whether so much is to be done for a code that many rows of x had better find it done, and how long a group is then:
  // quads as they are multiplied, of long numbers the high halves and then the low ones.
  constexpr bool unpacks() const { return table == PackedTable::kE4M3; }
  constexpr int64_t unpacked_bytes() const { return kPanelRows * kGroup * (long_numbers() ? 2 : 1); }
  // Whether both halves of a group have their own scales, and minima.
  constexpr bool halves() const {
    return params == PackedParams::kHalves || params == PackedParams::kHalvesE4M3 || half_minima();
  }
  constexpr bool half_minima() const {
    return params == PackedParams::kHalvesMin || params == PackedParams::kHalvesZero;
  }
  constexpr bool minimum() const { return params == PackedParams::kMinimum || params == PackedParams::kSixBit; }
  // Whether bytes are multiplied with d (and dmin) of a super-block.
  constexpr bool supers() const {
    return params == PackedParams::kSixBit || params == PackedParams::kHalves || params == PackedParams::kHalvesMin;
  }
  constexpr bool zero() const { return params == PackedParams::kZero; }
  constexpr bool float_scale() const { return zero() || params == PackedParams::kFloat; }
  constexpr int64_t code_bytes() const { return kPanelRows * kGroup * bits / 8; }  // of a group
  constexpr int64_t param_bytes() const {
    constexpr int64_t kBytes[] = {2, 4, 2, 2, 4, 5, 4, 2, 8};
    return kPanelRows * kBytes[static_cast<int>(params)];
  }
};
inline constexpr PackedTraits kPackedTraits[] = {
    {PackedKind::kNone, 8, PackedParams::kScale, 0},
    {PackedKind::kBytes, 8, PackedParams::kScale, 128},
    {PackedKind::kNibbles, 4, PackedParams::kScale, 8},
    {PackedKind::kFives, 5, PackedParams::kScale, 16},
    {PackedKind::kNibblesMinimum, 4, PackedParams::kMinimum, 0},
    {PackedKind::kFivesMinimum, 5, PackedParams::kMinimum, 0},
    {PackedKind::kPairsHalves, 2, PackedParams::kHalvesMin, 0},
    {PackedKind::kThreesHalves, 3, PackedParams::kHalves, 4},
    {PackedKind::kNibblesSixBit, 4, PackedParams::kSixBit, 0},
    {PackedKind::kFivesSixBit, 5, PackedParams::kSixBit, 0},
    {PackedKind::kSixesHalves, 6, PackedParams::kHalves, 32},
    {PackedKind::kTable, 4, PackedParams::kScale, 128, PackedTable::kIQ4},
    {PackedKind::kTableSixBit, 4, PackedParams::kSixBit, 128, PackedTable::kIQ4},
    {PackedKind::kTableFloat, 4, PackedParams::kFloat, 128, PackedTable::kE2M1},
    {PackedKind::kBytesZero, 8, PackedParams::kZero, 0},
    {PackedKind::kNibblesZero, 4, PackedParams::kZero, 0},
    {PackedKind::kThreesZero, 3, PackedParams::kZero, 0},
    {PackedKind::kPairsZero, 2, PackedParams::kZero, 0},
    {PackedKind::kBytesWide, 8, PackedParams::kZero, 0, PackedTable::kNone, true},
    {PackedKind::kNibblesWide, 4, PackedParams::kZero, 0, PackedTable::kNone, true},
    {PackedKind::kThreesWide, 3, PackedParams::kZero, 0, PackedTable::kNone, true},
    {PackedKind::kPairsWide, 2, PackedParams::kZero, 0, PackedTable::kNone, true},
    {PackedKind::kTableHalves, 4, PackedParams::kHalvesE4M3, 128, PackedTable::kE2M1},
    {PackedKind::kThreesHalvesZero, 3, PackedParams::kHalvesZero, 0},
    {PackedKind::kTableNF4, 4, PackedParams::kFloat, 128, PackedTable::kNF4},
    {PackedKind::kTableFP4, 4, PackedParams::kFloat, 128, PackedTable::kFP4},
    {PackedKind::kTableE4M3, 8, PackedParams::kFloat, 128, PackedTable::kE4M3},
    {PackedKind::kTableE4M3Wide, 8, PackedParams::kFloat, 128, PackedTable::kE4M3, true},
};
inline constexpr int kPackedKinds = sizeof(kPackedTraits) / sizeof(kPackedTraits[0]);
constexpr const PackedTraits& TraitsOf(PackedKind kind) { return kPackedTraits[static_cast<int>(kind)]; }

// What a format is packed as.
struct Packing {
  PackedKind kind = PackedKind::kNone;
  int64_t scale_groups = 1;  // groups that share a scale
};
Packing PackingOf(FormatId format);
// Values of x that share a scale beside such a weight.
constexpr int64_t XGroupOf(const Packing& packing) {
  return TraitsOf(packing.kind).wide ? kGroup * kWideGroups : kGroup;
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

// Packs rows into `target`, PackedBytes long and 64-byte aligned; in parallel, each source byte read once. The view
// must be in rows, of a format that is packed.
void PackPanels(const WeightView& rows, std::byte* target, ThreadPool& pool);

// One group of one row of a packed weight, as numbers: value = scale * code - minimum, of each half of the group (they
// differ only where halves have their own). For the slow tables and tests.
struct UnpackedGroup {
  float scales[2];
  float minima[2];
  int16_t codes[kGroup];
};
UnpackedGroup UnpackGroup(const WeightView& packed, int64_t row, int64_t group);

}  // namespace causeway::kernels
