// Sources: bitsandbytes' code tables (functional.py, csrc/kernels), OCP microscaling formats 1.0 for e2m1 and e8m0, OCP
// 8-bit floating point for e4m3, compressed-tensors' nvfp4 for the scale by which scales are divided.
//
// How a block lies is told in group_codes.h.
#include "kernels/quant/group_blocks.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "kernels/quant/blocks.h"
#include "kernels/quant/fit.h"
#include "kernels/quant/group_codes.h"

namespace causeway::kernels {
namespace {

constexpr float kOneOver127 = 0.007874015748031496F;
constexpr float kE4M3Largest = 448.0F;

constexpr std::array<float, 16> kNF4 = {
    -1.0F,      -0.6961928F, -0.52507305F, -0.3949175F, -0.28444138F, -0.18477343F, -0.091050036F, 0.0F,
    0.0795803F, 0.1609302F,  0.2461123F,   0.33791524F, 0.44070983F,  0.562617F,    0.72295684F,   1.0F};
constexpr std::array<float, 16> kFP4 = {0.0F,         0.0052083335F, 0.6666667F,   1.0F,           0.33333334F, 0.5F,
                                        0.16666667F,  0.25F,         0.0F,         -0.0052083335F, -0.6666667F, -1.0F,
                                        -0.33333334F, -0.5F,         -0.16666667F, -0.25F};
constexpr std::array<float, 16> kE2M1 = {0.0F,  0.5F,  1.0F,  1.5F,  2.0F,  3.0F,  4.0F,  6.0F,
                                         -0.0F, -0.5F, -1.0F, -1.5F, -2.0F, -3.0F, -4.0F, -6.0F};

constexpr float PowerOfTwo(int exponent) {
  float value = 1.0F;
  for (; exponent > 0; --exponent) {
    value *= 2.0F;
  }
  for (; exponent < 0; ++exponent) {
    value *= 0.5F;
  }
  return value;
}

constexpr std::array<float, 256> MakeE4M3() {
  std::array<float, 256> table{};
  for (int code = 0; code < 256; ++code) {
    const int exponent = (code >> 3) & 0xf;
    const int mantissa = code & 7;
    const float magnitude = exponent == 0 ? PowerOfTwo(-9) * static_cast<float>(mantissa)
                                          : PowerOfTwo(exponent - 10) * static_cast<float>(8 + mantissa);
    const float value = (code & 0x7f) == 0x7f ? std::numeric_limits<float>::quiet_NaN() : magnitude;
    table[static_cast<size_t>(code)] = code >= 128 ? -value : value;
  }
  return table;
}
constexpr std::array<float, 256> kE4M3 = MakeE4M3();

// The zero of kSigned.
constexpr int MiddleOf(int bits) { return 1 << (bits - 1); }

template <GroupCode kCode>
inline float ValueOf(uint8_t code, float scale, int zero) {
  if constexpr (kCode == GroupCode::kUniform || kCode == GroupCode::kSigned) {
    return static_cast<float>(code - zero) * scale;
  } else if constexpr (kCode == GroupCode::kInt8) {
    return static_cast<float>(code - 128) * scale * kOneOver127;
  } else if constexpr (kCode == GroupCode::kE4M3) {
    return kE4M3[code] * scale;
  } else if constexpr (kCode == GroupCode::kNF4) {
    return kNF4[code & 0xf] * scale;
  } else if constexpr (kCode == GroupCode::kFP4) {
    return kFP4[code & 0xf] * scale;
  } else {
    return kE2M1[code & 0xf] * scale;
  }
}

template <GroupCode kCode, int kBits, int kElements>
void PackBlock(const uint8_t* codes, const GroupScale& scale, std::byte* block) {
  using At = GroupLayout<kCode, kBits, kElements>;
  auto* const bytes = reinterpret_cast<uint8_t*>(block);
  std::memcpy(bytes, &scale.scale, At::kScaleBytes);
  if constexpr (kCode == GroupCode::kUniform) {
    bytes[At::kScaleBytes] = scale.zero;
  }
  if constexpr (At::kFineBytes > 0) {
    std::memcpy(bytes + At::kFineAt, scale.fine, At::kFineBytes);
  }
  PackCodes<kBits, kElements>(codes, bytes + At::kCodesAt);
}

template <GroupCode kCode, int kBits, int kElements>
void DecodeGroups(const std::byte* source, float* values, int64_t count) {
  using At = GroupLayout<kCode, kBits, kElements>;
  const auto* bytes = reinterpret_cast<const uint8_t*>(source);
  for (int64_t i = 0; i < count; i += kElements, bytes += At::kBytes) {
    uint8_t codes[kElements];
    UnpackCodes<kBits, kElements>(bytes + At::kCodesAt, codes);
    float scale = 1.0F;
    std::memcpy(&scale, bytes, At::kScaleBytes);
    if constexpr (At::kFineBytes > 0) {
      for (int run = 0; run < At::kFineBytes; ++run) {
        const float fine = FineScale(kCode, bytes[At::kFineAt + run], scale);
        for (int j = run * At::kFineRun; j < (run + 1) * At::kFineRun; ++j) {
          values[i + j] = ValueOf<kCode>(codes[j], fine, 0);
        }
      }
    } else {
      const int zero = kCode == GroupCode::kUniform ? bytes[At::kScaleBytes] : MiddleOf(kBits);
      for (int j = 0; j < kElements; ++j) {
        values[i + j] = ValueOf<kCode>(codes[j], scale, zero);
      }
    }
  }
}

// ---- Encoders: round to nearest ------------------------------------------------------------------------

float LargestMagnitude(std::span<const float> x) {
  float largest = 0.0F;
  for (const float value : x) {
    largest = std::max(largest, std::fabs(value));
  }
  return largest;
}

// The code of the entry nearest to x. NaN entries are never nearest.
template <size_t kSize>
uint8_t Nearest(float x, const std::array<float, kSize>& table) {
  size_t best = 0;
  float least = std::numeric_limits<float>::infinity();
  for (size_t code = 0; code < kSize; ++code) {
    const float distance = std::fabs(table[code] - x);
    if (distance < least) {
      least = distance;
      best = code;
    }
  }
  return static_cast<uint8_t>(best);
}

float Inverse(float scale) { return scale == 0.0F ? 0.0F : 1.0F / scale; }

double UniformError(std::span<const float> x, const GroupScale& scale, int high, uint8_t* codes) {
  double error = 0;
  const float inverse = Inverse(scale.scale);
  for (size_t i = 0; i < x.size(); ++i) {
    codes[i] = static_cast<uint8_t>(NearestCode(x[i] * inverse + static_cast<float>(scale.zero), 0, high));
    error += std::pow(static_cast<double>(ValueOf<GroupCode::kUniform>(codes[i], scale.scale, scale.zero)) -
                          static_cast<double>(x[i]),
                      2);
  }
  return error;
}

// A scale about the middle code.
GroupScale FitEven(std::span<const float> x, int bits) {
  const int middle = MiddleOf(bits);
  return {FitScale(x, {EqualImportance(), x.size()}, -middle, middle - 1), static_cast<uint8_t>(middle), nullptr};
}
GroupScale EncodeSigned(std::span<const float> x, int bits, uint8_t* codes) {
  const GroupScale even = FitEven(x, bits);
  UniformError(x, even, (1 << bits) - 1, codes);
  return even;
}

// The better of such a scale and one for the range from the least to the largest value.
GroupScale EncodeUniform(std::span<const float> x, int bits, uint8_t* codes) {
  const int high = (1 << bits) - 1;
  const GroupScale even = FitEven(x, bits);
  const auto [lowest, highest] = std::minmax_element(x.begin(), x.end());
  GroupScale range{(std::max(*highest, 0.0F) - std::min(*lowest, 0.0F)) / static_cast<float>(high), 0, nullptr};
  range.zero = static_cast<uint8_t>(NearestCode(-*lowest * Inverse(range.scale), 0, high));
  const double of_range = UniformError(x, range, high, codes);
  const double of_even = UniformError(x, even, high, codes);
  if (of_even <= of_range) {
    return even;
  }
  UniformError(x, range, high, codes);
  return range;
}

// The power of two, as its e8m0 code, that leaves the smaller error of the two that could.
uint8_t FitPowerOfTwo(std::span<const float> x) {
  const float largest = LargestMagnitude(x);
  if (largest == 0.0F) {
    return 0;
  }
  const int exponent = std::ilogb(largest) - 2;  // e2m1 reaches 6 = 1.5 * 2^2
  const auto error = [&](int candidate) {
    double sum = 0;
    const float scale = std::ldexp(1.0F, candidate);
    for (const float value : x) {
      sum +=
          std::pow(static_cast<double>(kE2M1[Nearest(value / scale, kE2M1)] * scale) - static_cast<double>(value), 2);
    }
    return sum;
  };
  const int best = error(exponent) <= error(exponent + 1) ? exponent : exponent + 1;
  return static_cast<uint8_t>(std::clamp(best + 127, 0, 254));
}

// Fills codes and, if the format has them, fine scales; gives the scale.
template <GroupCode kCode>
GroupScale EncodeOne(std::span<const float> x, int bits, uint8_t* codes, uint8_t* fine) {
  const float largest = LargestMagnitude(x);
  if constexpr (kCode == GroupCode::kUniform) {
    return EncodeUniform(x, bits, codes);
  } else if constexpr (kCode == GroupCode::kSigned) {
    return EncodeSigned(x, bits, codes);
  } else if constexpr (kCode == GroupCode::kInt8) {
    for (size_t i = 0; i < x.size(); ++i) {
      codes[i] = static_cast<uint8_t>(NearestCode(127.0F * x[i] * Inverse(largest), -127, 127) + 128);
    }
    return {largest, 0, nullptr};
  } else if constexpr (kCode == GroupCode::kE4M3) {
    const float scale = largest / kE4M3Largest;
    for (size_t i = 0; i < x.size(); ++i) {
      codes[i] = Nearest(x[i] * Inverse(scale), kE4M3);
    }
    return {scale, 0, nullptr};
  } else if constexpr (kCode == GroupCode::kNF4 || kCode == GroupCode::kFP4) {
    for (size_t i = 0; i < x.size(); ++i) {
      codes[i] = Nearest(x[i] * Inverse(largest), kCode == GroupCode::kNF4 ? kNF4 : kFP4);
    }
    return {largest, 0, nullptr};
  } else {
    constexpr size_t kRun = FineRun(kCode);
    const float divisor = largest == 0.0F ? 1.0F : kE4M3Largest * kE2M1[7] / largest;
    for (size_t at = 0; at < x.size(); at += kRun) {
      const auto run = x.subspan(at, kRun);
      fine[at / kRun] =
          kCode == GroupCode::kMXFP4 ? FitPowerOfTwo(run) : Nearest(LargestMagnitude(run) / kE2M1[7] * divisor, kE4M3);
      const float scale = FineScale(kCode, fine[at / kRun], divisor);
      for (size_t i = 0; i < kRun; ++i) {
        codes[at + i] = Nearest(run[i] * Inverse(scale), kE2M1);
      }
    }
    return {divisor, 0, fine};
  }
}

template <GroupCode kCode, int kBits, int kElements>
void EncodeGroups(const float* values, std::byte* target, int64_t count) {
  uint8_t codes[kElements];
  uint8_t fine[kElements / 16];
  for (int64_t i = 0; i < count; i += kElements, target += GroupLayout<kCode, kBits, kElements>::kBytes) {
    const GroupScale scale = EncodeOne<kCode>({values + i, kElements}, kBits, codes, fine);
    PackBlock<kCode, kBits, kElements>(codes, scale, target);
  }
}

#define CAUSEWAY_GROUP_ROW(name, code, bits, elements, bytes) \
  {FormatId::k##name, GroupCode::code, bits, elements, PackBlock<GroupCode::code, bits, elements>},
constexpr GroupBlock kGroupBlocks[] = {CAUSEWAY_GROUP_BLOCKS(CAUSEWAY_GROUP_ROW)};

}  // namespace

const GroupBlock* FindGroupBlock(GroupCode code, int bits, int64_t run) {
  const GroupBlock* best = nullptr;
  for (const GroupBlock& block : kGroupBlocks) {
    const bool fits = block.code == code && block.bits == bits && run % block.elements == 0;
    if (fits && (best == nullptr || block.elements > best->elements)) {
      best = &block;
    }
  }
  return best;
}

float DecodeCode(GroupCode code, uint8_t stored, float scale, uint8_t zero) {
  switch (code) {
    case GroupCode::kUniform: return ValueOf<GroupCode::kUniform>(stored, scale, zero);
    case GroupCode::kSigned: return ValueOf<GroupCode::kSigned>(stored, scale, zero);
    case GroupCode::kInt8: return ValueOf<GroupCode::kInt8>(stored, scale, zero);
    case GroupCode::kE4M3: return ValueOf<GroupCode::kE4M3>(stored, scale, zero);
    case GroupCode::kNF4: return ValueOf<GroupCode::kNF4>(stored, scale, zero);
    case GroupCode::kFP4: return ValueOf<GroupCode::kFP4>(stored, scale, zero);
    case GroupCode::kMXFP4: return ValueOf<GroupCode::kMXFP4>(stored, scale, zero);
    case GroupCode::kNVFP4: return ValueOf<GroupCode::kNVFP4>(stored, scale, zero);
  }
  CHECK(false);
}

float FineScale(GroupCode code, uint8_t fine, float scale) {
  return code == GroupCode::kMXFP4 ? E8M0ToFloat(fine) : E4M3ToFloat(fine) / scale;
}

std::span<const float> TableOf(GroupCode code) {
  CHECK(code == GroupCode::kNF4 || code == GroupCode::kFP4);
  return code == GroupCode::kNF4 ? kNF4 : kFP4;
}

float E4M3ToFloat(uint8_t code) { return kE4M3[code]; }

float E8M0ToFloat(uint8_t code) {
  constexpr uint32_t kHalfOfLeast = 0x00400000;  // 2^-127, which is denormal
  return code == 0xff ? std::numeric_limits<float>::quiet_NaN()
         : code == 0  ? std::bit_cast<float>(kHalfOfLeast)
                      : std::bit_cast<float>(static_cast<uint32_t>(code) << 23);
}

#define CAUSEWAY_DEFINE_GROUP(name, code, bits, elements, bytes)                \
  static_assert(GroupLayout<GroupCode::code, bits, elements>::kBytes == bytes); \
  void Decode##name(const std::byte* source, float* values, int64_t count) {    \
    DecodeGroups<GroupCode::code, bits, elements>(source, values, count);       \
  }                                                                             \
  void Encode##name(const float* values, std::byte* target, int64_t count) {    \
    EncodeGroups<GroupCode::code, bits, elements>(values, target, count);       \
  }

CAUSEWAY_GROUP_BLOCKS(CAUSEWAY_DEFINE_GROUP)

}  // namespace causeway::kernels
