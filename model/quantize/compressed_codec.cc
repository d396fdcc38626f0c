#include "model/quantize/compressed_codec.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <string>

#include "fmt/format.h"
#include "kernels/quant/fit.h"
#include "kernels/quant/format.h"
#include "kernels/quant/group_blocks.h"

namespace causeway::model::quantize {
namespace {

using kernels::BlockGrid;

constexpr CompressedScheme kSchemes[] = {
    {"w4a16", "pack-quantized", SchemeKind::kPacked, 4, true, 128, false},
    {"w4a16_asym", "pack-quantized", SchemeKind::kPacked, 4, false, 128, false},
    {"w3a16", "pack-quantized", SchemeKind::kPacked, 3, true, 128, false},
    {"w3a16_asym", "pack-quantized", SchemeKind::kPacked, 3, false, 128, false},
    {"w2a16", "pack-quantized", SchemeKind::kPacked, 2, true, 128, false},
    {"w2a16_asym", "pack-quantized", SchemeKind::kPacked, 2, false, 128, false},
    {"w8a16", "pack-quantized", SchemeKind::kPacked, 8, true, 128, false},
    {"w8a16_asym", "pack-quantized", SchemeKind::kPacked, 8, false, 128, false},
    {"w8a8", "int-quantized", SchemeKind::kInt8, 8, true, 0, true},
    {"fp8", "float-quantized", SchemeKind::kE4M3, 8, true, 0, false},
    {"fp8_dynamic", "float-quantized", SchemeKind::kE4M3, 8, true, 0, true},
    {"nvfp4a16", "nvfp4-pack-quantized", SchemeKind::kNvfp4, 4, true, 16, false},
    {"mxfp4a16", "mxfp4-pack-quantized", SchemeKind::kMxfp4, 4, true, 32, false},
};

constexpr float kE4M3Largest = 448.0F;
constexpr float kE2M1Largest = 6.0F;

float RoundedTo(const kernels::WeightFormat& format, float value) {
  std::byte bytes[sizeof(float)];
  format.encode(&value, bytes, 1);
  format.decode(bytes, &value, 1);
  return value;
}

// ---- Small floats ------------------------------------------------------------------------------------

// The numbers of a small float in ascending order, and the code that each is spelled by.
struct SmallFloats {
  std::vector<float> values;
  std::vector<uint8_t> codes;
};
SmallFloats Ascending(int codes, kernels::GroupCode kind) {
  SmallFloats all;
  std::vector<std::pair<float, uint8_t>> pairs;
  for (int code = 0; code < codes; ++code) {
    const float value = kernels::DecodeCode(kind, static_cast<uint8_t>(code), 1.0F, 0);
    if (!std::isnan(value) && !(value == 0.0F && std::signbit(value))) {
      pairs.emplace_back(value, static_cast<uint8_t>(code));
    }
  }
  std::sort(pairs.begin(), pairs.end());
  for (const auto& [value, code] : pairs) {
    all.values.push_back(value);
    all.codes.push_back(code);
  }
  return all;
}
const SmallFloats& E4M3() {
  static const SmallFloats all = Ascending(256, kernels::GroupCode::kE4M3);
  return all;
}
const SmallFloats& E2M1() {
  static const SmallFloats all = Ascending(16, kernels::GroupCode::kMXFP4);
  return all;
}
uint8_t NearestE4M3(float x) { return E4M3().codes[static_cast<size_t>(kernels::NearestEntry(x, E4M3().values))]; }

float Largest(std::span<const float> x) {
  float largest = 0.0F;
  for (const float value : x) {
    largest = std::max(largest, std::fabs(value));
  }
  return largest;
}

double ErrorOf(std::span<const float> x, std::span<const float> importance, const BlockGrid& grid) {
  double error = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const auto at = static_cast<int>(i);
    const auto difference = static_cast<double>(x[i] - grid.ValueOf(at, grid.CodeOf(at, x[i])));
    error += static_cast<double>(importance[i]) * difference * difference;
  }
  return error;
}

// ---- What codecs share -------------------------------------------------------------------------------

class CompressedCodec : public Codec {
 public:
  CompressedCodec(const CompressedScheme& scheme, std::string_view scale_dtype)
      : scheme_(scheme), scale_(*kernels::FindFormat(scale_dtype)) {}

  std::string name() const override { return std::string(scheme_.name); }
  int64_t Block(int64_t columns) const override { return scheme_.group == 0 ? columns : scheme_.group; }
  bool Fits(int64_t columns) const override {
    const int64_t words = scheme_.kind == SchemeKind::kPacked ? 32 / std::gcd(scheme_.bits, 32) : 1;
    return columns % Block(columns) == 0 && columns % words == 0;
  }

 protected:
  Part ScalePart(int64_t rows, int64_t columns) const {
    const int64_t runs = columns / Block(columns);
    return {".weight_scale", std::string(scale_.dtype), {rows, runs}, rows * runs * scale_.block_bytes};
  }
  void StoreScales(int64_t row, std::span<const BlockGrid> grids, std::vector<std::byte>& part) const {
    std::byte* target = part.data() + row * static_cast<int64_t>(grids.size()) * scale_.block_bytes;
    for (const BlockGrid& grid : grids) {
      scale_.encode(grid.step, target, 1);
      target += scale_.block_bytes;
    }
  }
  // A scale as it is stored.
  float Stored(float scale) const { return RoundedTo(scale_, scale); }

  const CompressedScheme scheme_;
  const kernels::WeightFormat& scale_;
};

// ---- Integers ----------------------------------------------------------------------------------------

// Codes are unsigned in the grid: value = scale * (code - zero).
class IntegerCodec : public CompressedCodec {
 public:
  using CompressedCodec::CompressedCodec;

  void Fit(std::span<const float> x, std::span<const float> importance, BlockGrid& grid) const override {
    const int middle = 1 << (scheme_.bits - 1);
    grid.group = static_cast<int>(x.size());
    grid.high = 2 * middle - 1;
    if (scheme_.symmetric) {
      const float scale = Stored(kernels::FitScale(x, importance, -middle, middle - 1));
      grid.step[0] = std::fabs(scale) > 0.0F ? scale : 1.0F;  // readers divide by none, but zero looks like damage
      grid.scales[0] = middle;
    } else {
      const kernels::AffineFit fit = kernels::FitAffine(x, importance, grid.high, true);
      const float scale = Stored(std::max(fit.scale, std::fabs(fit.low) / static_cast<float>(grid.high)));
      grid.step[0] = scale > 0.0F ? scale : 1.0F;
      grid.scales[0] = kernels::NearestCode(-fit.low / grid.step[0], 0, grid.high);
    }
    grid.shift[0] = -static_cast<float>(grid.scales[0]) * grid.step[0];
  }
};

// Without gaps, the first code in the lowest bits; several words for a pattern of 3 bits.
void PutBits(std::span<uint32_t> words, int64_t index, int bits, uint32_t code) {
  const int64_t bit = index * bits;
  const auto word = static_cast<size_t>(bit / 32);
  words[word] |= code << (bit % 32);
  if (bit % 32 + bits > 32) {
    words[word + 1] |= code >> (32 - bit % 32);
  }
}

class PackedCodec final : public IntegerCodec {
 public:
  using IntegerCodec::IntegerCodec;

  std::vector<Part> Parts(int64_t rows, int64_t columns) const override {
    std::vector<Part> parts = {{".weight_packed", "I32", {rows, Words(columns)}, rows * Words(columns) * 4},
                               ScalePart(rows, columns),
                               {".weight_shape", "I64", {2}, 16}};
    if (!scheme_.symmetric) {
      const int64_t runs = columns / Block(columns);
      parts.push_back({".weight_zero_point", "I32", {Words(rows), runs}, Words(rows) * runs * 4});
    }
    return parts;
  }

  void Store(int64_t row, std::span<const BlockGrid> grids, std::span<const int32_t> codes,
             std::span<std::vector<std::byte>> parts) const override {
    const auto columns = static_cast<int64_t>(codes.size());
    std::vector<uint32_t> words(static_cast<size_t>(Words(columns)));
    for (int64_t i = 0; i < columns; ++i) {
      PutBits(words, i, scheme_.bits, static_cast<uint32_t>(codes[static_cast<size_t>(i)]));
    }
    std::memcpy(parts[0].data() + row * Words(columns) * 4, words.data(), words.size() * 4);
    StoreScales(row, grids, parts[1]);
    if (row == 0) {
      const auto rows = static_cast<int64_t>(parts[0].size()) / (Words(columns) * 4);
      const int64_t shape[2] = {rows, columns};
      std::memcpy(parts[2].data(), shape, sizeof(shape));
    }
    if (!scheme_.symmetric) {
      StoreZeros(row, grids, parts[3]);
    }
  }

 private:
  int64_t Words(int64_t codes) const { return (codes * scheme_.bits + 31) / 32; }

  // Packed along the outputs: word w of run r lies at [w][r].
  void StoreZeros(int64_t row, std::span<const BlockGrid> grids, std::vector<std::byte>& part) const {
    const int64_t strip = row / kStripRows * kStripRows;
    const int64_t first_word = strip * scheme_.bits / 32;
    for (size_t run = 0; run < grids.size(); ++run) {
      uint32_t words[9] = {};
      PutBits(words, row - strip, scheme_.bits, static_cast<uint32_t>(grids[run].scales[0]));
      for (int word = 0; word < scheme_.bits; ++word) {
        const size_t at = (static_cast<size_t>(first_word + word) * grids.size() + run) * 4;
        if (words[word] != 0) {
          uint32_t before;
          std::memcpy(&before, part.data() + at, 4);
          before |= words[word];
          std::memcpy(part.data() + at, &before, 4);
        }
      }
    }
  }
};

class Int8Codec final : public IntegerCodec {
 public:
  using IntegerCodec::IntegerCodec;

  std::vector<Part> Parts(int64_t rows, int64_t columns) const override {
    return {{".weight", "I8", {rows, columns}, rows * columns}, ScalePart(rows, columns)};
  }
  void Store(int64_t row, std::span<const BlockGrid> grids, std::span<const int32_t> codes,
             std::span<std::vector<std::byte>> parts) const override {
    std::byte* target = parts[0].data() + row * static_cast<int64_t>(codes.size());
    for (const int32_t code : codes) {
      *target++ = static_cast<std::byte>(code - 128);
    }
    StoreScales(row, grids, parts[1]);
  }
};

// ---- Floats ------------------------------------------------------------------------------------------

class E4M3Codec final : public CompressedCodec {
 public:
  using CompressedCodec::CompressedCodec;

  void Fit(std::span<const float> x, std::span<const float> /*importance*/, BlockGrid& grid) const override {
    grid.group = static_cast<int>(x.size());
    grid.table = E4M3().values;
    const float scale = Stored(Largest(x) / kE4M3Largest);
    grid.step[0] = scale > 0.0F ? scale : 1.0F;
  }
  std::vector<Part> Parts(int64_t rows, int64_t columns) const override {
    return {{".weight", "F8_E4M3", {rows, columns}, rows * columns}, ScalePart(rows, columns)};
  }
  void Store(int64_t row, std::span<const BlockGrid> grids, std::span<const int32_t> codes,
             std::span<std::vector<std::byte>> parts) const override {
    std::byte* target = parts[0].data() + row * static_cast<int64_t>(codes.size());
    for (const int32_t code : codes) {
      *target++ = static_cast<std::byte>(E4M3().codes[static_cast<size_t>(code)]);
    }
    StoreScales(row, grids, parts[1]);
  }
};

// nvfp4 and mxfp4: two codes a byte, the low half first, and a byte of scale for each block; of nvfp4 they are e4m3
// numbers that one number for the tensor divides.
class E2M1Codec final : public CompressedCodec {
 public:
  using CompressedCodec::CompressedCodec;

  bool WantsLargest() const override { return nvfp4(); }
  void Prepare(float largest) override { global_ = largest > 0.0F ? kE4M3Largest * kE2M1Largest / largest : 1.0F; }
  // The nearest scale and its neighbours, the one that leaves least.
  void Fit(std::span<const float> x, std::span<const float> importance, BlockGrid& grid) const override {
    grid.group = static_cast<int>(x.size());
    grid.table = E2M1().values;
    const int first = FirstScale(Largest(x));
    double least = INFINITY;
    int best = first;
    for (int code = std::max(first - (nvfp4() ? 2 : 0), 0); code <= std::min(first + 2, LastScale()); ++code) {
      grid.step[0] = ScaleOf(code);
      const double error = grid.step[0] > 0.0F ? ErrorOf(x, importance, grid) : INFINITY;
      if (error < least) {
        least = error;
        best = code;
      }
    }
    grid.scales[0] = best;
    grid.step[0] = ScaleOf(best);
  }
  std::vector<Part> Parts(int64_t rows, int64_t columns) const override {
    const int64_t runs = columns / scheme_.group;
    std::vector<Part> parts = {{".weight_packed", "U8", {rows, columns / 2}, rows * columns / 2},
                               {".weight_scale", nvfp4() ? "F8_E4M3" : "U8", {rows, runs}, rows * runs}};
    if (nvfp4()) {
      parts.push_back({".weight_global_scale", "F32", {1}, 4});
    }
    return parts;
  }
  void Store(int64_t row, std::span<const BlockGrid> grids, std::span<const int32_t> codes,
             std::span<std::vector<std::byte>> parts) const override {
    std::byte* target = parts[0].data() + row * static_cast<int64_t>(codes.size()) / 2;
    for (size_t i = 0; i < codes.size(); i += 2) {
      const auto low = E2M1().codes[static_cast<size_t>(codes[i])];
      const auto high = E2M1().codes[static_cast<size_t>(codes[i + 1])];
      *target++ = static_cast<std::byte>(low | high << 4);
    }
    for (size_t i = 0; i < grids.size(); ++i) {
      parts[1][static_cast<size_t>(row) * grids.size() + i] = static_cast<std::byte>(grids[i].scales[0]);
    }
    if (nvfp4() && row == 0) {
      std::memcpy(parts[2].data(), &global_, sizeof(global_));
    }
  }

 private:
  bool nvfp4() const { return scheme_.kind == SchemeKind::kNvfp4; }
  int LastScale() const { return nvfp4() ? 0x7e : 254; }
  int FirstScale(float largest) const {
    if (nvfp4()) {
      return NearestE4M3(largest / kE2M1Largest * global_);
    }
    return largest > 0.0F ? std::clamp(std::ilogb(largest) - 2 + 127, 0, 254) : 0;  // 6 = 1.5 * 2^2
  }
  float ScaleOf(int code) const {
    return kernels::FineScale(nvfp4() ? kernels::GroupCode::kNVFP4 : kernels::GroupCode::kMXFP4,
                              static_cast<uint8_t>(code), global_);
  }

  float global_ = 1.0F;
};

}  // namespace

std::span<const CompressedScheme> CompressedSchemes() { return kSchemes; }

const CompressedScheme* FindScheme(std::string_view name) {
  const auto row = std::find_if(std::begin(kSchemes), std::end(kSchemes),
                                [&](const CompressedScheme& scheme) { return scheme.name == name; });
  return row == std::end(kSchemes) ? nullptr : row;
}

std::unique_ptr<Codec> MakeCompressedCodec(const CompressedScheme& scheme, std::string_view scale_dtype) {
  switch (scheme.kind) {
    case SchemeKind::kPacked: return std::make_unique<PackedCodec>(scheme, scale_dtype);
    case SchemeKind::kInt8: return std::make_unique<Int8Codec>(scheme, scale_dtype);
    case SchemeKind::kE4M3: return std::make_unique<E4M3Codec>(scheme, scale_dtype);
    case SchemeKind::kNvfp4:
    case SchemeKind::kMxfp4: return std::make_unique<E2M1Codec>(scheme, scale_dtype);
  }
  CHECK(false);
}

Json GroupOf(const CompressedScheme& scheme, bool act_order) {
  const bool integers = scheme.kind == SchemeKind::kPacked || scheme.kind == SchemeKind::kInt8;
  const bool nvfp4 = scheme.kind == SchemeKind::kNvfp4;
  Json weights = {{"num_bits", scheme.bits},
                  {"type", integers ? "int" : "float"},
                  {"symmetric", scheme.symmetric},
                  {"strategy", nvfp4               ? "tensor_group"
                               : scheme.group == 0 ? "channel"
                                                   : "group"},
                  {"group_size", scheme.group == 0 ? Json() : Json(scheme.group)},
                  {"block_structure", nullptr},
                  {"dynamic", false},
                  {"actorder", act_order ? Json("static") : Json()},
                  {"observer", "minmax"},
                  {"observer_kwargs", Json::object()}};
  Json inputs;
  if (scheme.rounds_inputs) {
    inputs = {{"num_bits", 8},         {"type", integers ? "int" : "float"}, {"symmetric", true}, {"strategy", "token"},
              {"group_size", nullptr}, {"block_structure", nullptr},         {"dynamic", true},   {"actorder", nullptr},
              {"observer", nullptr},   {"observer_kwargs", Json::object()}};
  }
  return {{"weights", std::move(weights)},
          {"input_activations", std::move(inputs)},
          {"output_activations", nullptr},
          {"format", std::string(scheme.format)}};
}

}  // namespace causeway::model::quantize
