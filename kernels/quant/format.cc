#include "kernels/quant/format.h"

#include <array>
#include <bit>
#include <cstring>

#include "base/check.h"
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

constexpr std::array<WeightFormat, 3> kFormats = {{
    {FormatId::kF32, "f32", "F32", 1, 4, DecodeValues<float, Identity>, EncodeValues<float, Identity>},
    {FormatId::kF16, "f16", "F16", 1, 2, DecodeValues<uint16_t, HalfToFloat>, EncodeValues<uint16_t, FloatToHalf>},
    {FormatId::kBF16, "bf16", "BF16", 1, 2, DecodeValues<uint16_t, BFloatToFloat>,
     EncodeValues<uint16_t, FloatToBFloat>},
}};

}  // namespace

std::span<const WeightFormat> WeightFormats() { return kFormats; }

const WeightFormat& FormatOf(FormatId id) {
  const auto index = static_cast<size_t>(id);
  CHECK(index < kFormats.size() && kFormats[index].id == id);
  return kFormats[index];
}

}  // namespace causeway::kernels
