#include "kernels/packed.h"

#include <cstring>
#include <iterator>

#include "base/check.h"
#include "kernels/quant/float16.h"

namespace causeway::kernels {
namespace {

// One group of one row on its way into a panel: codes as a panel wants them, byte i the value i or, of nibbles, values
// i (low) and i + 16 (high).
struct SourceGroup {
  alignas(32) uint8_t codes[kGroup];
  uint16_t scale;    // half precision, or a byte: of the first half of the group where halves have their own
  uint16_t minimum;  // a six-bit number; or the scale of the second half
  uint16_t d, dmin;  // of six-bit scales
  float wide_scale;  // of zero points
  uint8_t zero;
};

struct PackedFormat {
  FormatId format;
  Packing packing;
  void (*read)(const std::byte* row, int64_t group, SourceGroup& out);
};

uint16_t HalfAt(const std::byte* p) {
  uint16_t half;
  std::memcpy(&half, p, sizeof(half));
  return half;
}
uint8_t ByteAt(const std::byte* p) { return static_cast<uint8_t>(*p); }

void ReadQ8_0(const std::byte* row, int64_t group, SourceGroup& out) {
  const std::byte* const block = row + group * 34;
  out.scale = HalfAt(block);
  std::memcpy(out.codes, block + 2, 32);
}
void ReadQ4_0(const std::byte* row, int64_t group, SourceGroup& out) {
  const std::byte* const block = row + group * 18;
  out.scale = HalfAt(block);
  std::memcpy(out.codes, block + 2, 16);
}
// How blocks with six-bit scales begin, as in quant/k_quants.cc: d, dmin, scales and minima.
void ReadSixBitScales(const std::byte* block, int at, SourceGroup& out) {
  out.d = HalfAt(block);
  out.dmin = HalfAt(block + 2);
  const std::byte* const six = block + 4;
  if (at < 4) {
    out.scale = ByteAt(six + at) & 63;
    out.minimum = ByteAt(six + at + 4) & 63;
  } else {
    out.scale = static_cast<uint16_t>((ByteAt(six + at + 4) & 0xf) | (ByteAt(six + at - 4) >> 6 << 4));
    out.minimum = static_cast<uint16_t>((ByteAt(six + at + 4) >> 4) | (ByteAt(six + at) >> 6 << 4));
  }
}
// Two groups lie in the low and the high nibbles of the same 32 bytes.
void ReadQ4_K(const std::byte* row, int64_t group, SourceGroup& out) {
  const std::byte* const block = row + group / kSuperGroups * 144;
  const int at = static_cast<int>(group % kSuperGroups);
  ReadSixBitScales(block, at, out);
  uint8_t bytes[32];
  std::memcpy(bytes, block + 16 + at / 2 * 32, sizeof(bytes));
  const int shift = at % 2 * 4;
  for (int i = 0; i < 16; ++i) {
    out.codes[i] = static_cast<uint8_t>(((bytes[i] >> shift) & 0xf) | (((bytes[i + 16] >> shift) & 0xf) << 4));
  }
}
// As Q4_K; bit `group` of byte i is the fifth of value i.
void ReadQ5_K(const std::byte* row, int64_t group, SourceGroup& out) {
  const std::byte* const block = row + group / kSuperGroups * 176;
  const int at = static_cast<int>(group % kSuperGroups);
  ReadSixBitScales(block, at, out);
  uint8_t fifths[32];
  uint8_t nibbles[32];
  std::memcpy(fifths, block + 16, sizeof(fifths));
  std::memcpy(nibbles, block + 48 + at / 2 * 32, sizeof(nibbles));
  const int shift = at % 2 * 4;
  for (int i = 0; i < 32; ++i) {
    out.codes[i] = static_cast<uint8_t>(((nibbles[i] >> shift) & 0xf) | (((fifths[i] >> at) & 1) << 4));
  }
}
// 128 values have their nibbles in 64 bytes, low ones first, and their upper pairs of bits in 32.
void ReadQ6_K(const std::byte* row, int64_t group, SourceGroup& out) {
  const std::byte* const block = row + group / kSuperGroups * 210;
  const int at = static_cast<int>(group % kSuperGroups);
  const int quarter = at % 4;  // of its 128 values
  out.scale = ByteAt(block + 192 + 2 * at);
  out.minimum = ByteAt(block + 192 + 2 * at + 1);
  out.d = HalfAt(block + 208);
  out.dmin = 0;
  uint8_t nibbles[32];
  uint8_t pairs[32];
  std::memcpy(nibbles, block + at / 4 * 64 + quarter % 2 * 32, sizeof(nibbles));
  std::memcpy(pairs, block + 128 + at / 4 * 32, sizeof(pairs));
  for (int i = 0; i < 32; ++i) {
    const int low = (nibbles[i] >> (quarter / 2 * 4)) & 0xf;
    const int high = (pairs[i] >> (quarter * 2)) & 3;
    out.codes[i] = static_cast<uint8_t>((low | (high << 4)) - 32);
  }
}

// Blocks of kElements codes as in quant/group_blocks.cc: scale, zero point, then chunks of 32 codes, which are groups.
template <int kBits, int kElements>
void ReadUniform(const std::byte* row, int64_t group, SourceGroup& out) {
  constexpr int64_t kChunks = kElements / kGroup;
  constexpr int64_t kChunkBytes = kGroup / 8 * kBits;
  const std::byte* const block = row + group / kChunks * (5 + kChunks * kChunkBytes);
  std::memcpy(&out.wide_scale, block, sizeof(out.wide_scale));
  out.zero = ByteAt(block + 4);
  std::memcpy(out.codes, block + 5 + group % kChunks * kChunkBytes, kChunkBytes);
  if constexpr (kBits == 8) {
    out.zero ^= 0x80;
    for (uint8_t& code : out.codes) {
      code ^= 0x80;
    }
  }
}

constexpr PackedFormat kPackedFormats[] = {
    {FormatId::kQ8_0, {PackedKind::kBytes, 1}, ReadQ8_0},
    {FormatId::kQ4_0, {PackedKind::kNibbles, 1}, ReadQ4_0},
    {FormatId::kQ4_K, {PackedKind::kNibblesSixBit, 1}, ReadQ4_K},
    {FormatId::kQ5_K, {PackedKind::kBytesSixBit, 1}, ReadQ5_K},
    {FormatId::kQ6_K, {PackedKind::kBytesHalves, 1}, ReadQ6_K},
    {FormatId::kU8G128, {PackedKind::kBytesZero, 4}, ReadUniform<8, 128>},
    {FormatId::kU8G64, {PackedKind::kBytesZero, 2}, ReadUniform<8, 64>},
    {FormatId::kU8G32, {PackedKind::kBytesZero, 1}, ReadUniform<8, 32>},
    {FormatId::kU4G128, {PackedKind::kNibblesZero, 4}, ReadUniform<4, 128>},
    {FormatId::kU4G64, {PackedKind::kNibblesZero, 2}, ReadUniform<4, 64>},
    {FormatId::kU4G32, {PackedKind::kNibblesZero, 1}, ReadUniform<4, 32>},
};

const PackedFormat* Find(FormatId format) {
  for (const PackedFormat& row : kPackedFormats) {
    if (row.format == format) {
      return &row;
    }
  }
  return nullptr;
}

// Row `lane` of a panel. What is not there, of the last panel, stays zero: its scales too.
void PackRow(const PackedFormat& format, const std::byte* row, int64_t columns, int64_t lane, std::byte* panel) {
  const PackedKind kind = format.packing.kind;
  const PanelShape shape = ShapeOfPanel(format.packing, columns);
  const int64_t code_bytes = GroupCodeBytes(kind);
  SourceGroup group;
  for (int64_t g = 0; g < columns / kGroup; ++g) {
    format.read(row, g, group);
    std::byte* const codes = panel + g * code_bytes + lane * 4;
    for (int64_t j = 0; j < code_bytes / 64; ++j) {
      std::memcpy(codes + j * 64, group.codes + j * 4, 4);
    }
    std::byte* const params = panel + shape.params + g / shape.scale_groups * ParamBytes(kind);
    if (HasZero(kind)) {
      std::memcpy(params + lane * 4, &group.wide_scale, 4);
      params[kPanelRows * 4 + lane] = static_cast<std::byte>(group.zero);
    } else if (HasSupers(kind)) {
      params[lane] = static_cast<std::byte>(group.scale);
      params[kPanelRows + lane] = static_cast<std::byte>(group.minimum);
      std::byte* const super = panel + shape.supers + g / kSuperGroups * kSuperBytes;
      std::memcpy(super + lane * 2, &group.d, 2);
      std::memcpy(super + (kPanelRows + lane) * 2, &group.dmin, 2);
    } else {
      std::memcpy(params + lane * 2, &group.scale, 2);
    }
  }
}

}  // namespace

Packing PackingOf(FormatId format) {
  const PackedFormat* const found = Find(format);
  return found == nullptr ? Packing{} : found->packing;
}

void PackPanels(const WeightView& rows, std::byte* target, ThreadPool& pool) {
  const PackedFormat* const format = Find(rows.format);
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
  const PackedKind kind = packing.kind;
  CHECK(packed.layout == WeightLayout::kPanels && kind != PackedKind::kNone);
  const PanelShape shape = ShapeOfPanel(packing, packed.columns);
  const int64_t lane = row % kPanelRows;
  const std::byte* const panel = packed.data + row / kPanelRows * shape.bytes;
  const std::byte* const codes = panel + group * GroupCodeBytes(kind) + lane * 4;
  const std::byte* const params = panel + shape.params + group / shape.scale_groups * ParamBytes(kind);
  const auto zero = static_cast<uint8_t>(HasZero(kind) ? ByteAt(params + kPanelRows * 4 + lane) : 0);
  UnpackedGroup out{};
  const int offset = kind == PackedKind::kNibbles     ? 8
                     : kind == PackedKind::kBytesZero ? static_cast<int8_t>(zero)
                                                      : zero;
  for (int64_t k = 0; k < kGroup; ++k) {
    const bool high = !HasBytes(kind) && k >= kGroup / 2;
    const int64_t at = high ? k - kGroup / 2 : k;
    const uint8_t byte = ByteAt(codes + at / 4 * 64 + at % 4);
    const int code = HasBytes(kind) ? static_cast<int8_t>(byte) : high ? byte >> 4 : byte & 0xf;
    out.codes[k] = static_cast<int16_t>(code - offset);
  }
  if (HasZero(kind)) {
    std::memcpy(&out.scale, params + lane * 4, sizeof(out.scale));
  } else if (HasHalves(kind)) {
    const float d = HalfToFloat(HalfAt(panel + shape.supers + group / kSuperGroups * kSuperBytes + lane * 2));
    out.scale = d * static_cast<float>(static_cast<int8_t>(params[lane]));
    out.second_scale = d * static_cast<float>(static_cast<int8_t>(params[kPanelRows + lane]));
    return out;
  } else if (HasSixBit(kind)) {
    const std::byte* const super = panel + shape.supers + group / kSuperGroups * kSuperBytes;
    out.scale = HalfToFloat(HalfAt(super + lane * 2)) * static_cast<float>(ByteAt(params + lane));
    out.minimum =
        HalfToFloat(HalfAt(super + (kPanelRows + lane) * 2)) * static_cast<float>(ByteAt(params + kPanelRows + lane));
  } else {
    out.scale = HalfToFloat(HalfAt(params + lane * 2));
  }
  out.second_scale = out.scale;
  return out;
}

}  // namespace causeway::kernels
