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
  uint16_t scale;    // half precision, or a six-bit number
  uint16_t minimum;  // a six-bit number
  uint16_t d, dmin;  // of six-bit scales
};

struct PackedFormat {
  FormatId format;
  PackedKind kind;
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
// Two groups lie in the low and the high nibbles of the same 32 bytes; six-bit scales as in quant/k_quants.cc.
void ReadQ4_K(const std::byte* row, int64_t group, SourceGroup& out) {
  const std::byte* const block = row + group / kSuperGroups * 144;
  const int at = static_cast<int>(group % kSuperGroups);
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
  uint8_t bytes[32];
  std::memcpy(bytes, block + 16 + at / 2 * 32, sizeof(bytes));
  const int shift = at % 2 * 4;
  for (int i = 0; i < 16; ++i) {
    out.codes[i] = static_cast<uint8_t>(((bytes[i] >> shift) & 0xf) | (((bytes[i + 16] >> shift) & 0xf) << 4));
  }
}

constexpr PackedFormat kPackedFormats[] = {
    {FormatId::kQ8_0, PackedKind::kBytes, ReadQ8_0},
    {FormatId::kQ4_0, PackedKind::kNibbles, ReadQ4_0},
    {FormatId::kQ4_K, PackedKind::kNibblesSixBit, ReadQ4_K},
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
  const PanelShape shape = ShapeOfPanel(format.kind, columns);
  const int64_t code_bytes = GroupCodeBytes(format.kind);
  SourceGroup group;
  for (int64_t g = 0; g < columns / kGroup; ++g) {
    format.read(row, g, group);
    std::byte* const codes = panel + g * code_bytes + lane * 4;
    for (int64_t j = 0; j < code_bytes / 64; ++j) {
      std::memcpy(codes + j * 64, group.codes + j * 4, 4);
    }
    std::byte* const params = panel + shape.params + g * kParamBytes;
    if (format.kind == PackedKind::kNibblesSixBit) {
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

PackedKind PackedKindOf(FormatId format) {
  const PackedFormat* const found = Find(format);
  return found == nullptr ? PackedKind::kNone : found->kind;
}

void PackPanels(const WeightView& rows, std::byte* target, ThreadPool& pool) {
  const PackedFormat* const format = Find(rows.format);
  CHECK(format != nullptr && rows.layout == WeightLayout::kRows && rows.columns % kGroup == 0);
  const int64_t panel_bytes = ShapeOfPanel(format->kind, rows.columns).bytes;
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
  const PackedKind kind = PackedKindOf(packed.format);
  CHECK(packed.layout == WeightLayout::kPanels && kind != PackedKind::kNone);
  const PanelShape shape = ShapeOfPanel(kind, packed.columns);
  const int64_t lane = row % kPanelRows;
  const std::byte* const panel = packed.data + row / kPanelRows * shape.bytes;
  const std::byte* const codes = panel + group * GroupCodeBytes(kind) + lane * 4;
  const std::byte* const params = panel + shape.params + group * kParamBytes;
  UnpackedGroup out{};
  const int offset = kind == PackedKind::kNibbles ? 8 : 0;
  for (int64_t k = 0; k < kGroup; ++k) {
    const bool high = kind != PackedKind::kBytes && k >= kGroup / 2;
    const int64_t at = high ? k - kGroup / 2 : k;
    const uint8_t byte = ByteAt(codes + at / 4 * 64 + at % 4);
    out.codes[k] = kind == PackedKind::kBytes ? static_cast<int8_t>(byte)
                                              : static_cast<int8_t>((high ? byte >> 4 : byte & 0xf) - offset);
  }
  if (kind == PackedKind::kNibblesSixBit) {
    const std::byte* const super = panel + shape.supers + group / kSuperGroups * kSuperBytes;
    out.scale = HalfToFloat(HalfAt(super + lane * 2)) * static_cast<float>(ByteAt(params + lane));
    out.minimum =
        HalfToFloat(HalfAt(super + (kPanelRows + lane) * 2)) * static_cast<float>(ByteAt(params + kPanelRows + lane));
  } else {
    out.scale = HalfToFloat(HalfAt(params + lane * 2));
  }
  return out;
}

}  // namespace causeway::kernels
