#include "kernels/packed.h"

#include <cstring>

#include "base/check.h"
#include "kernels/packed_sources.h"
#include "kernels/quant/float16.h"
#include "kernels/quant/group_blocks.h"

namespace causeway::kernels {
namespace {

// `kBits` bits of every code from bit `from` on, as one row's words of a plane: a word for each vector, 16 words apart.
template <int kBits>
void PackPlane(const uint32_t (&quads)[kQuads], int from, std::byte* plane) {
  constexpr uint32_t kMask = ((1U << kBits) - 1) * 0x01010101U;
  constexpr int kInVector = 8 / kBits;  // quads
  uint32_t words[kBits] = {};
  for (int j = 0; j < kQuads; ++j) {
    const uint32_t field = (quads[j] >> from) & kMask;
    if constexpr (kBits == 8) {
      words[j] = quads[j];
    } else if constexpr (kBits == 4) {  // quads 0 to 3 below, 4 to 7 above
      words[j % 4] |= field << (j / 4 * 4);
    } else {
      words[j / kInVector] |= field << (j % kInVector * kBits);
    }
  }
  for (int word = 0; word < kBits; ++word) {
    std::memcpy(plane + word * 64, &words[word], sizeof(uint32_t));
  }
}

void PackCodes(const PackedTraits& traits, const SourceGroup& group, std::byte* codes) {
  uint32_t quads[kQuads];
  static_assert(sizeof(quads) == sizeof(group.codes));
  std::memcpy(quads, group.codes, sizeof(quads));
  switch (traits.low_bits()) {
    case 8: return PackPlane<8>(quads, 0, codes);
    case 4: PackPlane<4>(quads, 0, codes); break;
    default: PackPlane<2>(quads, 0, codes); break;
  }
  std::byte* const high = codes + traits.low_bits() * 64;
  if (traits.high_bits() == 2) {
    PackPlane<2>(quads, traits.low_bits(), high);
  } else if (traits.high_bits() == 1) {
    PackPlane<1>(quads, traits.low_bits(), high);
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

void PackParams(const PackedTraits& traits, const SourceGroup& group, int64_t lane, std::byte* params,
                std::byte* super) {
  switch (traits.params) {
    case PackedParams::kMinimum: Put(params + kPanelRows * 2, lane, group.minimum); [[fallthrough]];
    case PackedParams::kScale: Put(params, lane, group.scale); return;
    case PackedParams::kZero: Put(params + kPanelRows * 4, lane, group.zero); [[fallthrough]];
    case PackedParams::kFloat: Put(params, lane, group.wide_scale); return;
    case PackedParams::kSixBit: Put(params + kPanelRows, lane, group.minima[0]); break;
    case PackedParams::kHalvesMin:
      Put(params + kPanelRows * 2, lane, group.minima[0]);
      Put(params + kPanelRows * 3, lane, group.minima[1]);
      [[fallthrough]];
    case PackedParams::kHalves: Put(params + kPanelRows, lane, group.scales[1]); break;
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
  }
  Put(params, lane, group.scales[0]);
  Put(super, lane, group.d);
  if (traits.params != PackedParams::kHalves) {
    Put(super + kSuperBytes / 2, lane, group.dmin);
  }
}

// Row `lane` of a panel. What is not there, of the last panel, stays zero: its scales too.
void PackRow(const PackedFormat& format, const std::byte* row, int64_t columns, int64_t lane, std::byte* panel) {
  const PackedTraits traits = TraitsOf(format.packing.kind);
  const PanelShape shape = ShapeOfPanel(format.packing, columns);
  SourceGroup group{};
  for (int64_t g = 0; g < columns / kGroup; ++g) {
    format.read(row, g, group);
    PackCodes(traits, group, panel + g * traits.code_bytes() + lane * 4);
    PackParams(traits, group, lane, panel + shape.params + g / shape.param_groups * traits.param_bytes(),
               panel + shape.supers + g / shape.super_groups * kSuperBytes);
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
template <typename T>
float FloatOf(const std::byte* numbers, int64_t lane) {
  return static_cast<float>(Get<T>(numbers, lane));
}

// Scales and minima of a group.
void UnpackParams(const PackedTraits& traits, const std::byte* params, const std::byte* super, int64_t lane,
                  UnpackedGroup& out) {
  const float d = traits.supers() ? HalfOf(super, lane) : 0.0F;
  const bool has_dmin = traits.params == PackedParams::kSixBit || traits.params == PackedParams::kHalvesMin;
  const float dmin = has_dmin ? HalfOf(super + kSuperBytes / 2, lane) : 0.0F;
  for (int half = 0; half < 2; ++half) {
    float& scale = out.scales[half];
    float& minimum = out.minima[half];
    const std::byte* const bytes = params + half * kPanelRows;
    switch (traits.params) {
      case PackedParams::kMinimum: minimum = HalfOf(params + kPanelRows * 2, lane); [[fallthrough]];
      case PackedParams::kScale: scale = HalfOf(params, lane); break;
      case PackedParams::kZero:
      case PackedParams::kFloat: scale = Get<float>(params, lane); break;
      case PackedParams::kSixBit:
        scale = d * FloatOf<int8_t>(params, lane);
        minimum = dmin * FloatOf<uint8_t>(params + kPanelRows, lane);
        break;
      case PackedParams::kHalvesMin: minimum = dmin * FloatOf<uint8_t>(bytes + kPanelRows * 2, lane); [[fallthrough]];
      case PackedParams::kHalves: scale = d * FloatOf<int8_t>(bytes, lane); break;
      case PackedParams::kHalvesE4M3: scale = Get<float>(super, lane) * E4M3ToFloat(Get<uint8_t>(bytes, lane)); break;
      case PackedParams::kHalvesZero: {
        const std::byte* const numbers = params + half * kPanelRows * 2;
        scale = HalfOf(numbers, lane);
        minimum = scale * HalfOf(numbers + kPanelRows * 4, lane);
        break;
      }
    }
  }
}

}  // namespace

Packing PackingOf(FormatId format) {
  const PackedFormat* const found = FindPackedFormat(format);
  return found == nullptr ? Packing{} : found->packing;
}

void PackPanels(const WeightView& rows, std::byte* target, ThreadPool& pool) {
  const PackedFormat* const format = FindPackedFormat(rows.format);
  CHECK(format != nullptr && rows.layout == WeightLayout::kRows && rows.columns % kGroup == 0);
  const int64_t panel_bytes = ShapeOfPanel(format->packing, rows.columns).bytes;
  pool.ParallelFor((rows.rows + kPanelRows - 1) / kPanelRows, [&](int64_t panel, int) {
    const int64_t first = panel * kPanelRows;
    const int64_t count = rows.rows - first < kPanelRows ? rows.rows - first : kPanelRows;
    std::byte* const out = target + panel * panel_bytes;
    if (count < kPanelRows) {
      std::memset(out, 0, static_cast<size_t>(panel_bytes));
    }
    for (int64_t lane = 0; lane < count; ++lane) {
      PackRow(*format, rows.data + (first + lane) * rows.row_bytes, rows.columns, lane, out);
    }
  });
}

UnpackedGroup UnpackGroup(const WeightView& packed, int64_t row, int64_t group) {
  const Packing packing = PackingOf(packed.format);
  CHECK(packed.layout == WeightLayout::kPanels && packing.kind != PackedKind::kNone);
  const PackedTraits& traits = TraitsOf(packing.kind);
  const PanelShape shape = ShapeOfPanel(packing, packed.columns);
  const int64_t lane = row % kPanelRows;
  const std::byte* const panel = packed.data + row / kPanelRows * shape.bytes;
  const std::byte* const codes = panel + group * traits.code_bytes();
  const std::byte* const params = panel + shape.params + group / shape.param_groups * traits.param_bytes();
  UnpackedGroup out{};
  UnpackParams(traits, params, panel + shape.supers + group / shape.super_groups * kSuperBytes, lane, out);
  const int offset = traits.zero() ? Get<uint8_t>(params + kPanelRows * 4, lane) : traits.offset;
  for (int64_t k = 0; k < kGroup; ++k) {
    const int code = CodeAt(traits, codes, lane, k);
    const int value = traits.table == PackedTable::kNone ? code - offset : NumberOf(traits.table, code);
    out.codes[k] = static_cast<int16_t>(value);
  }
  return out;
}

}  // namespace causeway::kernels
