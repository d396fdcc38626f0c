// The kinds of packed weights (kernels/packed.h), as data: what kernels are compiled for.
#pragma once

#include <cstdint>

#include "kernels/packed_numbers.h"

namespace causeway::kernels {

inline constexpr int64_t kPanelRows = 16;
inline constexpr int64_t kGroup = 32;
inline constexpr int kQuads = 8;            // of a group
inline constexpr int64_t kWideGroups = 4;   // groups that share a scale of a wide weight, and of x where it has so many
inline constexpr int64_t kSuperGroups = 8;  // groups that share d and dmin
inline constexpr int64_t kSuperBytes = 64;

// What a panel holds for a group (or for the groups that share a scale), 16 numbers of each, in this order:
enum class PackedParams : uint8_t {
  kScale,       // half: scale * (code - offset)
  kMinimum,     // two halves: scale * code - minimum
  kZero,        // float32, and a byte: scale * (code - zero)
  kFloat,       // float32: scale * (code - offset)
  kBrainFloat,  // the same of bfloat16
  kHalvesE4M3,  // two e4m3 bytes, of the first and of the second sixteen k: (d * scale) * (code - offset), d a float32
  kHalvesZero,  // two halves and two zero points in half precision: scale * code - (scale * zero)
  // Whole numbers, which a chunk holds as packed_supers.h says:
  kSigned,        // (d * scale) * (code - offset)
  kSixBit,        // (d * scale) * code - (dmin * minimum)
  kHalves,        // of both halves: (d * scale) * (code - offset)
  kHalvesSixBit,  // the same
  kHalvesMin,     // of both halves: (d * scale) * code - (dmin * minimum)
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
  kTableSigned,
  kTableBrainFloat,
  kBytesZero,
  kNibblesZero,
  kThreesZero,
  kPairsZero,
  kBytesWide,
  kBytesWideSigned,
  kNibblesWide,
  kNibblesWideSigned,
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
  bool wide = false;  // kWideGroups groups, no fewer, share a scale

  constexpr int low_bits() const { return bits == 8 ? 8 : bits >= 4 ? 4 : 2; }  // of the lower plane
  constexpr int high_bits() const { return bits - low_bits(); }
  constexpr bool long_numbers() const { return IsLong(table); }
  // Whether both halves of a group have their own scales, and minima.
  constexpr bool halves() const {
    return params == PackedParams::kHalves || params == PackedParams::kHalvesSixBit ||
           params == PackedParams::kHalvesE4M3 || half_minima();
  }
  constexpr bool half_minima() const {
    return params == PackedParams::kHalvesMin || params == PackedParams::kHalvesZero;
  }
  constexpr bool minimum() const { return params == PackedParams::kMinimum || params == PackedParams::kSixBit; }
  // Whether whole numbers are multiplied with d (and dmin) of a super-block.
  constexpr bool supers() const { return params >= PackedParams::kSigned; }
  // Whether several of those share a byte.
  constexpr bool spreads() const {
    return supers() && params != PackedParams::kSigned && params != PackedParams::kHalves;
  }
  // Whether kWideGroups groups of x share a scale: beside as many of the weight, or within super-blocks of 256, which
  // llama.cpp and its forks multiply with x in groups of 256.
  constexpr bool wide_x() const { return wide || supers(); }
  // Whether one scale of x meets several of the weight: they are multiplied first, the scale of x then joins once.
  constexpr bool x_joins_late() const { return supers() || halves(); }
  constexpr bool zero() const { return params == PackedParams::kZero; }
  constexpr bool float_scale() const { return zero() || params == PackedParams::kFloat; }
  constexpr int64_t code_bytes() const { return kPanelRows * kGroup * bits / 8; }  // of a group
  constexpr int64_t param_bytes() const {
    constexpr int64_t kHalfBytes[] = {4, 8, 10, 8, 4, 4, 16, 2, 3, 4, 3, 4};  // of a row
    return kPanelRows / 2 * kHalfBytes[static_cast<int>(params)];
  }

  // Groups of a chunk of a panel (kernels/packed.h): so many that their params are whole cache lines.
  constexpr int64_t chunk_groups() const { return wide && zero() ? 16 : 8; }

  // What takes so long to make of the packed bytes that many rows of x had better find it made (linear_int8.cc): scales
  // of super-blocks or of halves of a group, codes that are small floats, others by instruction set.
  constexpr bool unpacks_params() const { return supers() || halves(); }
  constexpr bool small_floats() const { return table == PackedTable::kE4M3; }
};
inline constexpr PackedTraits kPackedTraits[] = {
    {PackedKind::kNone, 8, PackedParams::kScale, 0},
    {PackedKind::kBytes, 8, PackedParams::kScale, 128},
    {PackedKind::kNibbles, 4, PackedParams::kScale, 8},
    {PackedKind::kFives, 5, PackedParams::kScale, 16},
    {PackedKind::kNibblesMinimum, 4, PackedParams::kMinimum, 0},
    {PackedKind::kFivesMinimum, 5, PackedParams::kMinimum, 0},
    {PackedKind::kPairsHalves, 2, PackedParams::kHalvesMin, 0},
    {PackedKind::kThreesHalves, 3, PackedParams::kHalvesSixBit, 4},
    {PackedKind::kNibblesSixBit, 4, PackedParams::kSixBit, 0},
    {PackedKind::kFivesSixBit, 5, PackedParams::kSixBit, 0},
    {PackedKind::kSixesHalves, 6, PackedParams::kHalves, 32},
    {PackedKind::kTable, 4, PackedParams::kScale, 128, PackedTable::kIQ4},
    {PackedKind::kTableSigned, 4, PackedParams::kSigned, 128, PackedTable::kIQ4},
    {PackedKind::kTableBrainFloat, 4, PackedParams::kBrainFloat, 128, PackedTable::kE2M1},
    {PackedKind::kBytesZero, 8, PackedParams::kZero, 0},
    {PackedKind::kNibblesZero, 4, PackedParams::kZero, 0},
    {PackedKind::kThreesZero, 3, PackedParams::kZero, 0},
    {PackedKind::kPairsZero, 2, PackedParams::kZero, 0},
    {PackedKind::kBytesWide, 8, PackedParams::kZero, 0, PackedTable::kNone, true},
    {PackedKind::kBytesWideSigned, 8, PackedParams::kFloat, 128, PackedTable::kNone, true},
    {PackedKind::kNibblesWide, 4, PackedParams::kZero, 0, PackedTable::kNone, true},
    {PackedKind::kNibblesWideSigned, 4, PackedParams::kFloat, 8, PackedTable::kNone, true},
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

}  // namespace causeway::kernels
