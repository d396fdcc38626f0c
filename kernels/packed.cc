#include "kernels/packed.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "kernels/pack.h"
#include "kernels/packed_sources.h"
#include "kernels/packed_supers.h"
#include "kernels/quant/float16.h"
#include "kernels/quant/group_blocks.h"

namespace causeway::kernels {
namespace {

// A quad of each of sixteen rows; a group has kQuads of them before it is cut into planes.
using QuadOfRows = uint32_t[kPanelRows];

// A plane of `kBits` bits of every code, from bit `from` on.
template <int kBits>
void PackPlane(const QuadOfRows* quads, int from, std::byte* plane) {
  constexpr uint32_t kMask = ((1U << kBits) - 1) * 0x01010101U;
  constexpr int kInVector = 8 / kBits;  // quads
  for (int vector = 0; vector < kBits; ++vector) {
    uint32_t words[kPanelRows] = {};
    for (int i = 0; i < kInVector; ++i) {
      const int j = kBits == 4 ? vector + 4 * i : vector * kInVector + i;
      for (int64_t lane = 0; lane < kPanelRows; ++lane) {
        words[lane] |= ((quads[j][lane] >> from) & kMask) << (i * kBits);
      }
    }
    std::memcpy(plane + vector * sizeof(words), words, sizeof(words));
  }
}

template <PackedKind kKind>
void PackCodes(const QuadOfRows* quads, std::byte* codes) {
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  PackPlane<kTraits.low_bits()>(quads, 0, codes);
  if constexpr (kTraits.high_bits() > 0) {
    PackPlane<kTraits.high_bits()>(quads, kTraits.low_bits(), codes + kTraits.low_bits() * 64);
  }
}

// Row `lane` of sixteen numbers.
template <typename T>
void Put(std::byte* numbers, int64_t lane, T value) {
  std::memcpy(numbers + lane * static_cast<int64_t>(sizeof(T)), &value, sizeof(T));
}
template <typename T>
T Get(const std::byte* numbers, int64_t lane) {
  T value;
  std::memcpy(&value, numbers + lane * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

// d and dmin of a super-block.
void PackSuper(const PackedTraits& traits, const SourceGroup& group, int64_t lane, std::byte* super) {
  Put(super, lane, group.d);
  if (traits.minimum() || traits.half_minima()) {
    Put(super + kSuperBytes / 2, lane, group.dmin);
  }
}

// What all other groups have.
void PackParams(const PackedTraits& traits, const SourceGroup& group, int64_t lane, std::byte* params,
                std::byte* super) {
  switch (traits.params) {
    case PackedParams::kMinimum: Put(params + kPanelRows * 2, lane, group.minimum); [[fallthrough]];
    case PackedParams::kScale: Put(params, lane, group.scale); return;
    case PackedParams::kZero: Put(params + kPanelRows * 4, lane, group.zero); [[fallthrough]];
    case PackedParams::kFloat: Put(params, lane, group.wide_scale); return;
    case PackedParams::kBrainFloat: Put(params, lane, FloatToBFloat(group.wide_scale)); return;
    case PackedParams::kHalvesE4M3:
      Put(params, lane, group.scales[0]);
      Put(params + kPanelRows, lane, group.scales[1]);
      Put(super, lane, group.wide_scale);
      return;
    case PackedParams::kHalvesZero:
      for (int64_t half = 0; half < 2; ++half) {
        Put(params + half * kPanelRows * 2, lane, group.half_scales[half]);
        Put(params + (2 + half) * kPanelRows * 2, lane, group.half_zeros[half]);
      }
      return;
    default: return;
  }
}

// Rows as a file has them, and in codes, group by group.
struct StoredSource {
  const PackedFormat& format;
  const WeightView& rows;

  void Read(int64_t row, int64_t group, SourceGroup& out) const {
    const std::byte* const from = rows.data + row * rows.row_bytes;
    // Of the next panel: sixteen streams at once are more than hardware follows.
    __builtin_prefetch(from + kPanelRows * rows.row_bytes + rows.row_bytes * group * kGroup / rows.columns);
    format.read(from, group, out);
  }
};
struct CodedSource {
  const PackedFormat& format;
  const CodedRows& rows;
  int64_t blocks;  // of a row

  void Read(int64_t row, int64_t group, SourceGroup& out) const {
    format.read_codes(rows.codes + row * rows.columns, rows.blocks + row * blocks, group, out);
  }
};

// A panel of `count` rows. What is not there, of the last panel, becomes zero: its scales too.
template <PackedKind kKind, typename Source>
void PackPanel(const Source& source, int64_t first, int64_t count, std::byte* panel) {
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  const int64_t columns = source.rows.columns;
  const PanelShape shape = ShapeOfPanel(source.format.packing, columns);
  if (count < kPanelRows) {
    std::memset(panel, 0, static_cast<size_t>(shape.bytes));
  }
  constexpr int kHalves = kTraits.halves() ? 2 : 1;
  SourceGroup group{};
  SuperNumbers numbers[2] = {};
  alignas(64) QuadOfRows quads[kQuads] = {};
  for (int64_t g = 0; g < columns / kGroup; ++g) {
    const GroupPlace at(shape, g);
    for (int64_t lane = 0; lane < count; ++lane) {
      source.Read(first + lane, g, group);
      for (int64_t j = 0; j < kQuads; ++j) {
        std::memcpy(&quads[j][lane], group.codes + j * 4, sizeof(uint32_t));
      }
      if constexpr (!kTraits.supers()) {
        PackParams(kTraits, group, lane, panel + at.params, panel + at.super);
        continue;
      }
      for (int half = 0; half < kHalves; ++half) {
        numbers[half].scales[lane] = group.scales[half];
        numbers[half].minima[lane] = group.minima[half];
      }
      if (at.at == 0) {
        PackSuper(kTraits, group, lane, panel + at.super);
      }
    }
    for (int half = 0; kTraits.supers() && half < kHalves; ++half) {
      WriteSuperNumbers<kTraits.params>(numbers[half], SuperNumberAt(kTraits, at.at, half, 0), panel + at.begin);
    }
    PackCodes<kKind>(quads, panel + at.codes);
  }
}

template <PackedKind kKind>
void PackPart(const Packing& packing, const CodedPanel& part, std::byte* panel) {
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  const PanelShape shape = ShapeOfPanel(packing, part.columns);
  const auto* const quads = reinterpret_cast<const QuadOfRows*>(part.quads);
  const int64_t first = part.first / kGroup;
  for (int64_t g = 0; g < part.count / kGroup; ++g) {
    PackCodes<kKind>(quads + g * kQuads, panel + GroupPlace(shape, first + g).codes);
  }
  const int64_t blocks = part.count / (kGroup * shape.param_groups);
  SourceGroup group{};
  for (int64_t block = 0; block < blocks; ++block) {
    std::byte* const params = panel + GroupPlace(shape, first + block * shape.param_groups).params;
    for (int64_t lane = 0; lane < kPanelRows; ++lane) {
      const GroupScale& shared = part.blocks[lane * blocks + block];
      group.wide_scale = shared.scale;
      group.zero = shared.zero;
      PackParams(kTraits, group, lane, params, nullptr);
    }
  }
}

// Of each kind, in the order of kPackedTraits.
template <typename Source, size_t... kIndex>
constexpr auto PackersOfKinds(std::index_sequence<kIndex...> /*kinds*/) {
  return std::array{PackPanel<kPackedTraits[kIndex].kind, Source>...};
}

// The same of parts: of kinds of uniform codes, null of others.
template <size_t kIndex>
constexpr auto PartPackerOf() {
  constexpr PackedTraits kTraits = kPackedTraits[kIndex];
  using Packer = void (*)(const Packing&, const CodedPanel&, std::byte*);
  if constexpr (kTraits.zero() || (kTraits.float_scale() && kTraits.table == PackedTable::kNone)) {
    return Packer{PackPart<kTraits.kind>};
  } else {
    return Packer{nullptr};
  }
}
template <size_t... kIndex>
constexpr auto PartPackersOfKinds(std::index_sequence<kIndex...> /*kinds*/) {
  return std::array{PartPackerOf<kIndex>()...};
}

template <typename Source>
void PackAll(const Source& source, std::byte* target) {
  static constexpr auto kPackers = PackersOfKinds<Source>(std::make_index_sequence<kPackedKinds>());
  const Packing& packing = source.format.packing;
  const auto& rows = source.rows;
  CHECK(rows.columns % (kGroup * packing.scale_groups) == 0);
  for (int64_t first = 0; first < rows.rows; first += kPanelRows) {
    kPackers[static_cast<size_t>(packing.kind)](source, first, std::min(kPanelRows, rows.rows - first),
                                                target + PackedBytes(packing, first, rows.columns));
  }
}

// Bits [from, from + bits) of code k of a row, from a plane.
int PlaneBits(const std::byte* plane, int bits, int64_t lane, int64_t k) {
  const int quad = static_cast<int>(k / 4);
  const int in_vector = 8 / bits;
  const int vector = bits == 4 ? quad % 4 : quad / in_vector;
  const int shift = bits == 4 ? quad / 4 * 4 : quad % in_vector * bits;
  return (static_cast<int>(plane[vector * 64 + lane * 4 + k % 4]) >> shift) & ((1 << bits) - 1);
}

int CodeAt(const PackedTraits& traits, const std::byte* codes, int64_t lane, int64_t k) {
  const int low = PlaneBits(codes, traits.low_bits(), lane, k);
  if (traits.high_bits() == 0) {
    return low;
  }
  return low | PlaneBits(codes + traits.low_bits() * 64, traits.high_bits(), lane, k) << traits.low_bits();
}

float HalfOf(const std::byte* numbers, int64_t lane) { return HalfToFloat(Get<uint16_t>(numbers, lane)); }

// Scales and minima of a group: of super-blocks, whose numbers begin at `numbers`, the group `at` of those.
void UnpackSuper(const PackedTraits& traits, const std::byte* numbers, const std::byte* super, int64_t at, int64_t lane,
                 UnpackedGroup& out) {
  const bool has_dmin = traits.minimum() || traits.half_minima();
  const float dmin = has_dmin ? HalfOf(super + kSuperBytes / 2, lane) : 0.0F;
  for (int half = 0; half < 2; ++half) {
    const SuperNumber number = ReadSuperNumber(traits.params, numbers, SuperNumberAt(traits, at, half, lane));
    out.scales[half] = HalfOf(super, lane) * static_cast<float>(number.scale);
    out.minima[half] = dmin * static_cast<float>(number.minimum);
  }
}

// Of all others.
void UnpackParams(const PackedTraits& traits, const std::byte* params, const std::byte* super, int64_t lane,
                  UnpackedGroup& out) {
  for (int half = 0; half < 2; ++half) {
    float& scale = out.scales[half];
    float& minimum = out.minima[half];
    const std::byte* const bytes = params + half * kPanelRows;
    switch (traits.params) {
      case PackedParams::kMinimum: minimum = HalfOf(params + kPanelRows * 2, lane); [[fallthrough]];
      case PackedParams::kScale: scale = HalfOf(params, lane); break;
      case PackedParams::kZero:
      case PackedParams::kFloat: scale = Get<float>(params, lane); break;
      case PackedParams::kBrainFloat: scale = BFloatToFloat(Get<uint16_t>(params, lane)); break;
      case PackedParams::kHalvesE4M3: scale = Get<float>(super, lane) * E4M3ToFloat(Get<uint8_t>(bytes, lane)); break;
      case PackedParams::kHalvesZero: {
        const std::byte* const numbers = params + half * kPanelRows * 2;
        scale = HalfOf(numbers, lane);
        minimum = scale * HalfOf(numbers + kPanelRows * 4, lane);
        break;
      }
      default: break;
    }
  }
}

}  // namespace

Packing PackingOf(FormatId format) {
  const PackedFormat* const found = FindPackedFormat(format);
  return found == nullptr ? Packing{} : found->packing;
}

void PackPanels(const WeightView& rows, std::byte* target) {
  const PackedFormat* const format = FindPackedFormat(rows.format);
  CHECK(format != nullptr && rows.layout == WeightLayout::kRows);
  PackAll(StoredSource{*format, rows}, target);
}

void PackPanels(const CodedRows& rows, std::byte* target) {
  const PackedFormat* const format = FindPackedFormat(rows.format);
  CHECK(format != nullptr && format->read_codes != nullptr);
  PackAll(CodedSource{*format, rows, rows.columns / FormatOf(rows.format).block_elements}, target);
}

void PackColumns(const CodedPanel& part, std::byte* panel) {
  static constexpr auto kPackers = PartPackersOfKinds(std::make_index_sequence<kPackedKinds>());
  const Packing packing = PackingOf(part.format);
  const auto packer = kPackers[static_cast<size_t>(packing.kind)];
  const int64_t block_columns = kGroup * packing.scale_groups;
  CHECK(packer != nullptr && part.first % block_columns == 0 && part.count % block_columns == 0);
  packer(packing, part, panel);
}

UnpackedGroup UnpackGroup(const WeightView& packed, int64_t row, int64_t group) {
  const Packing packing = PackingOf(packed.format);
  CHECK(packed.layout == WeightLayout::kPanels && packing.kind != PackedKind::kNone);
  const PackedTraits& traits = TraitsOf(packing.kind);
  const PanelShape shape = ShapeOfPanel(packing, packed.columns);
  const int64_t lane = row % kPanelRows;
  const std::byte* const panel = packed.data + row / kPanelRows * shape.bytes;
  const GroupPlace at(shape, group);
  const std::byte* const codes = panel + at.codes;
  const std::byte* const params = panel + at.params;
  UnpackedGroup out{};
  if (traits.supers()) {
    UnpackSuper(traits, panel + at.begin, panel + at.super, at.at, lane, out);
  } else {
    UnpackParams(traits, params, panel + at.super, lane, out);
  }
  const int offset = traits.zero() ? Get<uint8_t>(params + kPanelRows * 4, lane) : traits.offset;
  for (int64_t k = 0; k < kGroup; ++k) {
    const int code = CodeAt(traits, codes, lane, k);
    const int value = traits.table == PackedTable::kNone ? code - offset : NumberOf(traits.table, code);
    out.codes[k] = static_cast<int16_t>(value);
  }
  return out;
}

}  // namespace causeway::kernels
