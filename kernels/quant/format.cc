#include "kernels/quant/format.h"

#include <cstring>
#include <iterator>
#include <string>

#include "base/check.h"
#include "kernels/quant/blocks.h"
#include "kernels/quant/float16.h"

namespace causeway::kernels {
namespace {

template <typename Stored, float (*Decode)(Stored)>
void DecodeValues(const std::byte* source, float* values, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    Stored stored;
    std::memcpy(&stored, source + i * static_cast<int64_t>(sizeof(Stored)), sizeof(Stored));
    values[i] = Decode(stored);
  }
}

template <typename Stored, Stored (*Encode)(float)>
void EncodeValues(const float* values, std::byte* target, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const Stored stored = Encode(values[i]);
    std::memcpy(target + i * static_cast<int64_t>(sizeof(Stored)), &stored, sizeof(Stored));
  }
}

float Identity(float value) { return value; }

constexpr CodeLayout Floats(int bits) { return {CodeKind::kFloat, bits, 1}; }

constexpr WeightFormat Block(FormatId id, std::string_view name, std::string_view dtype, int elements, int bytes,
                             CodeLayout codes, decltype(WeightFormat::decode) decode,
                             decltype(WeightFormat::encode) encode) {
  return {id, name, dtype, elements, bytes, codes, decode, encode};
}

// Indexed by FormatId.
constexpr WeightFormat kFormats[] = {
    {FormatId::kF32, "f32", "F32", 1, 4, Floats(32), DecodeValues<float, Identity>, EncodeValues<float, Identity>},
    {FormatId::kF16, "f16", "F16", 1, 2, Floats(16), DecodeValues<uint16_t, HalfToFloat>,
     EncodeValues<uint16_t, FloatToHalf>},
    {FormatId::kBF16, "bf16", "BF16", 1, 2, Floats(16), DecodeValues<uint16_t, BFloatToFloat>,
     EncodeValues<uint16_t, FloatToBFloat>},
    Block(FormatId::kQ8_0, "q8_0", "Q8_0", 32, 34, {CodeKind::kSigned, 8, 32}, DecodeQ8_0, EncodeQ8_0),
    Block(FormatId::kQ4_0, "q4_0", "Q4_0", 32, 18, {CodeKind::kSigned, 4, 32}, DecodeQ4_0, EncodeQ4_0),
    Block(FormatId::kQ4_1, "q4_1", "Q4_1", 32, 20, {CodeKind::kAffine, 4, 32}, DecodeQ4_1, EncodeQ4_1),
    Block(FormatId::kQ5_0, "q5_0", "Q5_0", 32, 22, {CodeKind::kSigned, 5, 32}, DecodeQ5_0, EncodeQ5_0),
    Block(FormatId::kQ5_1, "q5_1", "Q5_1", 32, 24, {CodeKind::kAffine, 5, 32}, DecodeQ5_1, EncodeQ5_1),
    Block(FormatId::kQ2_K, "q2_K", "Q2_K", 256, 84, {CodeKind::kAffine, 2, 16}, DecodeQ2_K, EncodeQ2_K),
    Block(FormatId::kQ3_K, "q3_K", "Q3_K", 256, 110, {CodeKind::kSigned, 3, 16}, DecodeQ3_K, EncodeQ3_K),
    Block(FormatId::kQ4_K, "q4_K", "Q4_K", 256, 144, {CodeKind::kAffine, 4, 32}, DecodeQ4_K, EncodeQ4_K),
    Block(FormatId::kQ5_K, "q5_K", "Q5_K", 256, 176, {CodeKind::kAffine, 5, 32}, DecodeQ5_K, EncodeQ5_K),
    Block(FormatId::kQ6_K, "q6_K", "Q6_K", 256, 210, {CodeKind::kSigned, 6, 16}, DecodeQ6_K, EncodeQ6_K),
    Block(FormatId::kIQ4_NL, "iq4_nl", "IQ4_NL", 32, 18, {CodeKind::kTable, 4, 32}, DecodeIQ4_NL, EncodeIQ4_NL),
    Block(FormatId::kIQ4_XS, "iq4_xs", "IQ4_XS", 256, 136, {CodeKind::kTable, 4, 32}, DecodeIQ4_XS, EncodeIQ4_XS),
};

}  // namespace

std::span<const WeightFormat> WeightFormats() { return kFormats; }

const WeightFormat& FormatOf(FormatId id) {
  const auto index = static_cast<size_t>(id);
  CHECK(index < std::size(kFormats) && kFormats[index].id == id);
  return kFormats[index];
}

const WeightFormat* FindFormat(std::string_view dtype) {
  for (const WeightFormat& format : kFormats) {
    if (format.dtype == dtype) {
      return &format;
    }
  }
  return nullptr;
}

std::string_view KnownDtypes() {
  static const std::string known = [] {
    std::string names;
    for (const WeightFormat& format : kFormats) {
      names += (names.empty() ? "" : ", ") + std::string(format.dtype);
    }
    return names;
  }();
  return known;
}

}  // namespace causeway::kernels
