// Where the numbers of a group lie is told in quant/: ggml_blocks.cc, k_quants.cc, iq4.cc, group_blocks.cc.
#include "kernels/packed_sources.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>

#include "kernels/quant/group_codes.h"

namespace causeway::kernels {
namespace {

uint16_t HalfAt(const std::byte* p) {
  uint16_t half;
  std::memcpy(&half, p, sizeof(half));
  return half;
}
uint8_t ByteAt(const std::byte* p) { return static_cast<uint8_t>(*p); }
uint16_t Negated(uint16_t half) { return half ^ 0x8000; }

// Sixteen bytes: values 0 to 15 in the low nibbles, 16 to 31 in the high ones.
void ReadNibbles(const std::byte* bytes, uint8_t (&codes)[kGroup]) {
  for (int i = 0; i < kGroup / 2; ++i) {
    codes[i] = ByteAt(bytes + i) & 0xf;
    codes[i + kGroup / 2] = ByteAt(bytes + i) >> 4;
  }
}
// Four bytes: bit i is the fifth of value i.
void AddFifths(const std::byte* bytes, uint8_t (&codes)[kGroup]) {
  for (int i = 0; i < kGroup; i += 8) {
    StoreEight(LoadEight(codes + i) | SpreadBits(ByteAt(bytes + i / 8)) << 4, codes + i);
  }
}
// 32 neighbours have `kBits` bits each at `shift` in 32 bytes; they come to stand at `to`.
template <int kBits>
void AddBits(const std::byte* bytes, int shift, int to, uint8_t (&codes)[kGroup]) {
  for (int i = 0; i < kGroup; i += 8) {
    const uint64_t eight = (LoadEight(bytes + i) >> shift) & EightOf((1 << kBits) - 1);
    StoreEight(LoadEight(codes + i) | eight << to, codes + i);
  }
}

void ReadQ8_0(const std::byte* row, int64_t group, SourceGroup& out) {
  const std::byte* const block = row + group * 34;
  out.scale = HalfAt(block);
  for (int i = 0; i < kGroup; ++i) {
    out.codes[i] = ByteAt(block + 2 + i) ^ 0x80;
  }
}
void ReadQ4_0(const std::byte* row, int64_t group, SourceGroup& out) {
  const std::byte* const block = row + group * 18;
  out.scale = HalfAt(block);
  ReadNibbles(block + 2, out.codes);
}
void ReadQ4_1(const std::byte* row, int64_t group, SourceGroup& out) {
  const std::byte* const block = row + group * 20;
  out.scale = HalfAt(block);
  out.minimum = Negated(HalfAt(block + 2));
  ReadNibbles(block + 4, out.codes);
}
void ReadQ5_0(const std::byte* row, int64_t group, SourceGroup& out) {
  const std::byte* const block = row + group * 22;
  out.scale = HalfAt(block);
  ReadNibbles(block + 6, out.codes);
  AddFifths(block + 2, out.codes);
}
void ReadQ5_1(const std::byte* row, int64_t group, SourceGroup& out) {
  const std::byte* const block = row + group * 24;
  out.scale = HalfAt(block);
  out.minimum = Negated(HalfAt(block + 2));
  ReadNibbles(block + 8, out.codes);
  AddFifths(block + 4, out.codes);
}

// ---- Super-blocks of 256 -----------------------------------------------------------------------------

// 128 values have their pairs of bits in 32 bytes; group `at` of a super-block its own from
// PairBytes(at) on, at bit PairShift(at).
int64_t PairBytes(int64_t at) { return at / 4 * 32; }
int PairShift(int64_t at) { return static_cast<int>(at % 4 * 2); }

void ReadQ2_K(const std::byte* row, int64_t group, SourceGroup& out) {
  const std::byte* const block = row + group / kSuperGroups * 84;
  const int64_t at = group % kSuperGroups;
  for (int half = 0; half < 2; ++half) {
    const uint8_t both = ByteAt(block + 2 * at + half);
    out.scales[half] = both & 0xf;
    out.minima[half] = both >> 4;
  }
  std::memset(out.codes, 0, sizeof(out.codes));
  AddBits<2>(block + 16 + PairBytes(at), PairShift(at), 0, out.codes);
  out.d = HalfAt(block + 80);
  out.dmin = HalfAt(block + 82);
}
// Sixteen scales of six bits, less 32: of scale i the low nibbles in byte i % 8, of eight each; then their upper pairs
// in four bytes, scale i in byte i % 4.
uint8_t ScaleOfQ3_K(const std::byte* twelve, int64_t i) {
  const int low = (ByteAt(twelve + i % 8) >> (i / 8 * 4)) & 0xf;
  const int high = (ByteAt(twelve + 8 + i % 4) >> (i / 4 * 2)) & 3;
  return static_cast<uint8_t>((low | (high << 4)) - 32);
}
void ReadQ3_K(const std::byte* row, int64_t group, SourceGroup& out) {
  const std::byte* const block = row + group / kSuperGroups * 110;
  const int64_t at = group % kSuperGroups;
  std::memset(out.codes, 0, sizeof(out.codes));
  AddBits<1>(block, static_cast<int>(at), 2, out.codes);
  AddBits<2>(block + 32 + PairBytes(at), PairShift(at), 0, out.codes);
  out.scales[0] = ScaleOfQ3_K(block + 96, 2 * at);
  out.scales[1] = ScaleOfQ3_K(block + 96, 2 * at + 1);
  out.d = HalfAt(block + 108);
}
// How blocks of Q4_K and Q5_K begin: d, dmin, six-bit scales and minima.
void ReadSixBitScales(const std::byte* block, int64_t at, SourceGroup& out) {
  out.d = HalfAt(block);
  out.dmin = HalfAt(block + 2);
  const std::byte* const six = block + 4;
  if (at < 4) {
    out.scales[0] = ByteAt(six + at) & 63;
    out.minima[0] = ByteAt(six + at + 4) & 63;
  } else {
    out.scales[0] = static_cast<uint8_t>((ByteAt(six + at + 4) & 0xf) | (ByteAt(six + at - 4) >> 6 << 4));
    out.minima[0] = static_cast<uint8_t>((ByteAt(six + at + 4) >> 4) | (ByteAt(six + at) >> 6 << 4));
  }
}
// Two groups lie in the low and the high nibbles of the same 32 bytes.
void ReadQ4_K(const std::byte* row, int64_t group, SourceGroup& out) {
  const std::byte* const block = row + group / kSuperGroups * 144;
  const int64_t at = group % kSuperGroups;
  ReadSixBitScales(block, at, out);
  std::memset(out.codes, 0, sizeof(out.codes));
  AddBits<4>(block + 16 + at / 2 * 32, static_cast<int>(at % 2 * 4), 0, out.codes);
}
// As Q4_K; bit `group` of byte i is the fifth of value i.
void ReadQ5_K(const std::byte* row, int64_t group, SourceGroup& out) {
  const std::byte* const block = row + group / kSuperGroups * 176;
  const int64_t at = group % kSuperGroups;
  ReadSixBitScales(block, at, out);
  std::memset(out.codes, 0, sizeof(out.codes));
  AddBits<4>(block + 48 + at / 2 * 32, static_cast<int>(at % 2 * 4), 0, out.codes);
  AddBits<1>(block + 16, static_cast<int>(at), 4, out.codes);
}
// 128 values have their nibbles in 64 bytes, low ones first, and their upper pairs of bits in 32.
void ReadQ6_K(const std::byte* row, int64_t group, SourceGroup& out) {
  const std::byte* const block = row + group / kSuperGroups * 210;
  const int64_t at = group % kSuperGroups;
  const int64_t quarter = at % 4;
  std::memset(out.codes, 0, sizeof(out.codes));
  AddBits<4>(block + at / 4 * 64 + quarter % 2 * 32, static_cast<int>(quarter / 2 * 4), 0, out.codes);
  AddBits<2>(block + 128 + PairBytes(at), PairShift(at), 4, out.codes);
  out.scales[0] = ByteAt(block + 192 + 2 * at);
  out.scales[1] = ByteAt(block + 192 + 2 * at + 1);
  out.d = HalfAt(block + 208);
}

void ReadIQ4_NL(const std::byte* row, int64_t group, SourceGroup& out) {
  const std::byte* const block = row + group * 18;
  out.scale = HalfAt(block);
  ReadNibbles(block + 2, out.codes);
}
void ReadIQ4_XS(const std::byte* row, int64_t group, SourceGroup& out) {
  const std::byte* const block = row + group / kSuperGroups * 136;
  const int64_t at = group % kSuperGroups;
  out.d = HalfAt(block);
  out.dmin = 0;
  const int high = (HalfAt(block + 2) >> (at * 2)) & 3;
  const int low = (ByteAt(block + 4 + at / 2) >> (at % 2 * 4)) & 0xf;
  out.scales[0] = static_cast<uint8_t>((low | (high << 4)) - 32);
  out.minima[0] = 0;
  ReadNibbles(block + 8 + at * 16, out.codes);
}

// ---- Blocks of quant/group_blocks.cc -----------------------------------------------------------------

// Small floats are spelt again, as large as they can be: powers of two go from all codes of a block to its scale, which
// loses nothing, and then the numbers that kernels make of them are exact to 15 bits of the largest.
using E4M3Doubled = std::array<std::array<uint8_t, 256>, 18>;
constexpr E4M3Doubled MakeE4M3Doubled() {
  E4M3Doubled doubled{};
  for (size_t code = 0; code < 256; ++code) {
    doubled[0][code] = static_cast<uint8_t>(code);
    for (size_t times = 1; times < doubled.size(); ++times) {
      const int before = doubled[times - 1][code];
      const int magnitude = before & 0x7f;
      const int twice = magnitude < 8 ? 2 * magnitude : magnitude + 8;  // what overflows is not asked for
      doubled[times][code] = static_cast<uint8_t>((before & 0x80) | (twice & 0x7f));
    }
  }
  return doubled;
}
constexpr E4M3Doubled kE4M3Doubled = MakeE4M3Doubled();

// How often the largest of such magnitudes can be doubled.
size_t DoublingsOfE4M3(int magnitude) {
  size_t times = 0;
  while (magnitude != 0 && (magnitude < 8 || magnitude + 8 < 0x7f)) {
    magnitude = magnitude < 8 ? 2 * magnitude : magnitude + 8;
    ++times;
  }
  return times;
}
// What a chunk of a block is multiplied with; its codes are in `out`, as the block has them. `codes` are all of the
// block's, looked at where they have 8 bits.
template <GroupCode kCode, int kElements>
void SetScales(const GroupScale& shared, const uint8_t* codes, int64_t chunk, SourceGroup& out) {
  if constexpr (kCode == GroupCode::kUniform) {
    out.wide_scale = shared.scale;
    out.zero = shared.zero;
  } else if constexpr (kCode == GroupCode::kSigned) {
    out.wide_scale = shared.scale;
  } else if constexpr (kCode == GroupCode::kInt8) {
    constexpr float kOver127 = 1.0F / 127.0F;
    out.wide_scale = shared.scale * kOver127;
    out.zero = 128;
  } else if constexpr (kCode == GroupCode::kNF4) {
    out.wide_scale = shared.scale * kNF4Unit;
  } else if constexpr (kCode == GroupCode::kFP4) {
    out.wide_scale = shared.scale * kFP4Unit;
  } else if constexpr (kCode == GroupCode::kMXFP4) {
    // 2^(fine - 127) halved, for the table holds twice the numbers: exact, 2^-127 and 2^-128 as well (subnormal), and
    // so are their upper sixteen bits.
    const uint32_t fine = shared.fine[chunk];
    out.wide_scale = std::bit_cast<float>(fine == 255 ? 0x7fc00000U : fine > 1 ? (fine - 1) << 23 : 0x200000U << fine);
  } else if constexpr (kCode == GroupCode::kNVFP4) {
    constexpr int kRuns = kElements / 16;
    out.wide_scale = 0.5F / shared.scale;
    const bool nan = std::any_of(shared.fine, shared.fine + kRuns, [](uint8_t fine) { return (fine & 0x7f) == 0x7f; });
    if (nan) {  // one among the fine scales makes that of the block one
      out.wide_scale = std::numeric_limits<float>::quiet_NaN();
    }
    out.scales[0] = shared.fine[2 * chunk];
    out.scales[1] = shared.fine[2 * chunk + 1];
  } else {
    static_assert(kCode == GroupCode::kE4M3);
    uint8_t largest = 0;
    for (int i = 0; i < kElements; ++i) {
      largest = std::max<uint8_t>(largest, codes[i] & 0x7f);
    }
    const size_t times = DoublingsOfE4M3(largest);
    for (uint8_t& code : out.codes) {
      code = kE4M3Doubled[times][code];
    }
    const float halved = std::bit_cast<float>(static_cast<uint32_t>(127 - times) << 23);  // as often
    out.wide_scale = largest == 0x7f ? std::numeric_limits<float>::quiet_NaN() : shared.scale * kE4M3Unit * halved;
  }
}
template <GroupCode kCode, int kBits, int kElements>
void ReadGroup(const std::byte* row, int64_t group, SourceGroup& out) {
  using At = GroupLayout<kCode, kBits, kElements>;
  constexpr int64_t kChunks = kElements / kChunk;
  const auto* const block = reinterpret_cast<const uint8_t*>(row) + group / kChunks * At::kBytes;
  const uint8_t* const codes = block + At::kCodesAt;
  const int64_t chunk = group % kChunks;
  GroupScale shared{.zero = block[At::kScaleBytes], .fine = block + At::kFineAt};
  std::memcpy(&shared.scale, block, At::kScaleBytes);
  UnpackChunk<kBits>(codes + chunk * (kChunk / 8 * kBits), out.codes);
  SetScales<kCode, kElements>(shared, codes, chunk, out);
}
template <GroupCode kCode, int kElements>
void ReadCodes(const uint8_t* codes, const GroupScale* blocks, int64_t group, SourceGroup& out) {
  constexpr int64_t kChunks = kElements / kChunk;
  const int64_t block = group / kChunks;
  std::memcpy(out.codes, codes + group * kChunk, sizeof(out.codes));
  SetScales<kCode, kElements>(blocks[block], codes + block * kElements, group % kChunks, out);
}
template <GroupCode kCode, int kBits, int kElements>
constexpr PackedFormat Group(FormatId format, PackedKind kind) {
  static_assert(8 % (kElements / kGroup) == 0);  // blocks do not straddle chunks
  return {format, {kind, kElements / kGroup}, ReadGroup<kCode, kBits, kElements>, ReadCodes<kCode, kElements>};
}

// Two blocks of spqr.cc.
void ReadSPQR3(const std::byte* row, int64_t group, SourceGroup& out) {
  for (int64_t half = 0; half < 2; ++half) {
    const std::byte* const block = row + (2 * group + half) * 10;
    out.half_scales[half] = HalfAt(block);
    out.half_zeros[half] = HalfAt(block + 2);
    uint64_t codes = 0;
    std::memcpy(&codes, block + 4, 6);
    StoreEight(SpreadCodes<3>(codes), out.codes + half * kGroup / 2);
    StoreEight(SpreadCodes<3>(codes >> 24), out.codes + half * kGroup / 2 + 8);
  }
}

using enum PackedKind;
constexpr PackedFormat kPackedFormats[] = {
    {FormatId::kQ8_0, {kBytes, 1}, ReadQ8_0},
    {FormatId::kQ4_0, {kNibbles, 1}, ReadQ4_0},
    {FormatId::kQ4_1, {kNibblesMinimum, 1}, ReadQ4_1},
    {FormatId::kQ5_0, {kFives, 1}, ReadQ5_0},
    {FormatId::kQ5_1, {kFivesMinimum, 1}, ReadQ5_1},
    {FormatId::kQ2_K, {kPairsHalves, 1}, ReadQ2_K},
    {FormatId::kQ3_K, {kThreesHalves, 1}, ReadQ3_K},
    {FormatId::kQ4_K, {kNibblesSixBit, 1}, ReadQ4_K},
    {FormatId::kQ5_K, {kFivesSixBit, 1}, ReadQ5_K},
    {FormatId::kQ6_K, {kSixesHalves, 1}, ReadQ6_K},
    {FormatId::kIQ4_NL, {kTable, 1}, ReadIQ4_NL},
    {FormatId::kIQ4_XS, {kTableSigned, 1}, ReadIQ4_XS},
    Group<GroupCode::kUniform, 8, 128>(FormatId::kU8G128, kBytesWide),
    Group<GroupCode::kUniform, 8, 64>(FormatId::kU8G64, kBytesZero),
    Group<GroupCode::kUniform, 8, 32>(FormatId::kU8G32, kBytesZero),
    Group<GroupCode::kUniform, 4, 128>(FormatId::kU4G128, kNibblesWide),
    Group<GroupCode::kUniform, 4, 64>(FormatId::kU4G64, kNibblesZero),
    Group<GroupCode::kUniform, 4, 32>(FormatId::kU4G32, kNibblesZero),
    Group<GroupCode::kUniform, 3, 128>(FormatId::kU3G128, kThreesWide),
    Group<GroupCode::kUniform, 3, 64>(FormatId::kU3G64, kThreesZero),
    Group<GroupCode::kUniform, 3, 32>(FormatId::kU3G32, kThreesZero),
    Group<GroupCode::kUniform, 2, 128>(FormatId::kU2G128, kPairsWide),
    Group<GroupCode::kUniform, 2, 64>(FormatId::kU2G64, kPairsZero),
    Group<GroupCode::kUniform, 2, 32>(FormatId::kU2G32, kPairsZero),
    Group<GroupCode::kSigned, 8, 128>(FormatId::kI8G128, kBytesWideSigned),
    Group<GroupCode::kSigned, 4, 128>(FormatId::kI4G128, kNibblesWideSigned),
    Group<GroupCode::kInt8, 8, 128>(FormatId::kLLM_INT8G128, kBytesWideSigned),
    Group<GroupCode::kInt8, 8, 32>(FormatId::kLLM_INT8G32, kBytesZero),
    Group<GroupCode::kE4M3, 8, 128>(FormatId::kE4M3G128, kTableE4M3Wide),
    Group<GroupCode::kE4M3, 8, 32>(FormatId::kE4M3G32, kTableE4M3),
    Group<GroupCode::kNF4, 4, 64>(FormatId::kNF4G64, kTableNF4),
    Group<GroupCode::kNF4, 4, 32>(FormatId::kNF4G32, kTableNF4),
    Group<GroupCode::kFP4, 4, 64>(FormatId::kFP4G64, kTableFP4),
    Group<GroupCode::kFP4, 4, 32>(FormatId::kFP4G32, kTableFP4),
    Group<GroupCode::kMXFP4, 4, 32>(FormatId::kMXFP4, kTableBrainFloat),
    Group<GroupCode::kNVFP4, 4, 128>(FormatId::kNVFP4G128, kTableHalves),
    Group<GroupCode::kNVFP4, 4, 32>(FormatId::kNVFP4G32, kTableHalves),
    {FormatId::kSPQR3, {kThreesHalvesZero, 1}, ReadSPQR3},
};

}  // namespace

const PackedFormat* FindPackedFormat(FormatId format) {
  for (const PackedFormat& row : kPackedFormats) {
    if (row.format == format) {
      return &row;
    }
  }
  return nullptr;
}

}  // namespace causeway::kernels
