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
    Block(FormatId::kU8G128, "u8g128", "U8G128", 128, 133, {CodeKind::kZeroPoint, 8, 128}, DecodeU8G128, EncodeU8G128),
    Block(FormatId::kU8G64, "u8g64", "U8G64", 64, 69, {CodeKind::kZeroPoint, 8, 64}, DecodeU8G64, EncodeU8G64),
    Block(FormatId::kU8G32, "u8g32", "U8G32", 32, 37, {CodeKind::kZeroPoint, 8, 32}, DecodeU8G32, EncodeU8G32),
    Block(FormatId::kU4G128, "u4g128", "U4G128", 128, 69, {CodeKind::kZeroPoint, 4, 128}, DecodeU4G128, EncodeU4G128),
    Block(FormatId::kU4G64, "u4g64", "U4G64", 64, 37, {CodeKind::kZeroPoint, 4, 64}, DecodeU4G64, EncodeU4G64),
    Block(FormatId::kU4G32, "u4g32", "U4G32", 32, 21, {CodeKind::kZeroPoint, 4, 32}, DecodeU4G32, EncodeU4G32),
    Block(FormatId::kU3G128, "u3g128", "U3G128", 128, 53, {CodeKind::kZeroPoint, 3, 128}, DecodeU3G128, EncodeU3G128),
    Block(FormatId::kU3G64, "u3g64", "U3G64", 64, 29, {CodeKind::kZeroPoint, 3, 64}, DecodeU3G64, EncodeU3G64),
    Block(FormatId::kU3G32, "u3g32", "U3G32", 32, 17, {CodeKind::kZeroPoint, 3, 32}, DecodeU3G32, EncodeU3G32),
    Block(FormatId::kU2G128, "u2g128", "U2G128", 128, 37, {CodeKind::kZeroPoint, 2, 128}, DecodeU2G128, EncodeU2G128),
    Block(FormatId::kU2G64, "u2g64", "U2G64", 64, 21, {CodeKind::kZeroPoint, 2, 64}, DecodeU2G64, EncodeU2G64),
    Block(FormatId::kU2G32, "u2g32", "U2G32", 32, 13, {CodeKind::kZeroPoint, 2, 32}, DecodeU2G32, EncodeU2G32),
    Block(FormatId::kI8G128, "i8g128", "I8G128", 128, 132, {CodeKind::kSigned, 8, 128}, DecodeI8G128, EncodeI8G128),
    Block(FormatId::kI4G128, "i4g128", "I4G128", 128, 68, {CodeKind::kSigned, 4, 128}, DecodeI4G128, EncodeI4G128),
    Block(FormatId::kLLM_INT8G128, "llm_int8g128", "LLM_INT8G128", 128, 132, {CodeKind::kZeroPoint, 8, 128},
          DecodeLLM_INT8G128, EncodeLLM_INT8G128),
    Block(FormatId::kLLM_INT8G32, "llm_int8g32", "LLM_INT8G32", 32, 36, {CodeKind::kZeroPoint, 8, 32},
          DecodeLLM_INT8G32, EncodeLLM_INT8G32),
    Block(FormatId::kE4M3G128, "e4m3g128", "E4M3G128", 128, 132, {CodeKind::kSmallFloat, 8, 128}, DecodeE4M3G128,
          EncodeE4M3G128),
    Block(FormatId::kE4M3G32, "e4m3g32", "E4M3G32", 32, 36, {CodeKind::kSmallFloat, 8, 32}, DecodeE4M3G32,
          EncodeE4M3G32),
    Block(FormatId::kNF4G64, "nf4g64", "NF4G64", 64, 36, {CodeKind::kTable, 4, 64}, DecodeNF4G64, EncodeNF4G64),
    Block(FormatId::kNF4G32, "nf4g32", "NF4G32", 32, 20, {CodeKind::kTable, 4, 32}, DecodeNF4G32, EncodeNF4G32),
    Block(FormatId::kFP4G64, "fp4g64", "FP4G64", 64, 36, {CodeKind::kTable, 4, 64}, DecodeFP4G64, EncodeFP4G64),
    Block(FormatId::kFP4G32, "fp4g32", "FP4G32", 32, 20, {CodeKind::kTable, 4, 32}, DecodeFP4G32, EncodeFP4G32),
    Block(FormatId::kMXFP4, "mxfp4", "MXFP4", 32, 17, {CodeKind::kSmallFloat, 4, 32}, DecodeMXFP4, EncodeMXFP4),
    Block(FormatId::kNVFP4G128, "nvfp4g128", "NVFP4G128", 128, 76, {CodeKind::kSmallFloat, 4, 16}, DecodeNVFP4G128,
          EncodeNVFP4G128),
    Block(FormatId::kNVFP4G32, "nvfp4g32", "NVFP4G32", 32, 22, {CodeKind::kSmallFloat, 4, 16}, DecodeNVFP4G32,
          EncodeNVFP4G32),
    Block(FormatId::kSPQR3, "spqr3", "SPQR3", 16, 10, {CodeKind::kAffine, 3, 16}, DecodeSPQR3, EncodeSPQR3),
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
