#include "model/quantize/recipe.h"

#include <algorithm>
#include <vector>

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "model/gguf/reader.h"

namespace causeway::model::quantize {
namespace {

using kernels::FormatId;
using Type = std::optional<FormatId>;

bool Is(const TensorPlace& place, std::string_view stem) {
  return place.name.find("." + std::string(stem) + ".weight") != std::string_view::npos;
}
bool IsFirst(const TensorPlace& place, int64_t share) { return place.layer < place.layers / share; }

// The first and last eighth of the layers, and every third between.
bool UsesMoreBits(const TensorPlace& place) {
  const int64_t eighth = place.layers / 8;
  return place.layer < eighth || place.layer >= 7 * place.layers / 8 || (place.layer - eighth) % 3 == 2;
}

Type MixHead(const TensorPlace& place) { return place.is_head ? Type(FormatId::kQ6_K) : std::nullopt; }

Type MixQ2K(const TensorPlace& place) {
  if (Is(place, "attn_v")) return place.group_query >= 4 ? FormatId::kQ4_K : FormatId::kQ3_K;
  if (Is(place, "ffn_down") || Is(place, "attn_output")) return FormatId::kQ3_K;
  return MixHead(place);
}
Type MixQ2KS(const TensorPlace& place) {
  if (Is(place, "attn_v") && place.group_query >= 4) return FormatId::kQ4_K;
  if (Is(place, "ffn_down") && IsFirst(place, 8)) return FormatId::kQ4_K;
  return MixHead(place);
}
Type MixQ3KM(const TensorPlace& place) {
  if (Is(place, "attn_v")) return place.layer < 2 ? FormatId::kQ5_K : FormatId::kQ4_K;
  if (Is(place, "ffn_down")) return IsFirst(place, 16) ? FormatId::kQ5_K : FormatId::kQ4_K;
  if (Is(place, "attn_output") || Is(place, "attn_qkv")) return FormatId::kQ4_K;
  return MixHead(place);
}
Type MixQ3KL(const TensorPlace& place) {
  if (Is(place, "attn_v") || Is(place, "ffn_down") || Is(place, "attn_output")) return FormatId::kQ5_K;
  if (Is(place, "attn_qkv")) return FormatId::kQ4_K;
  return MixHead(place);
}
Type MixQ4KS(const TensorPlace& place) {
  if (Is(place, "attn_v") && place.layer < 4) return FormatId::kQ5_K;
  if (Is(place, "ffn_down") && IsFirst(place, 8)) return FormatId::kQ5_K;
  return MixHead(place);
}
Type MixQ4KM(const TensorPlace& place) {
  if ((Is(place, "attn_v") || Is(place, "ffn_down")) && UsesMoreBits(place)) return FormatId::kQ6_K;
  if (Is(place, "attn_qkv")) return FormatId::kQ5_K;
  return MixHead(place);
}
Type MixQ5KM(const TensorPlace& place) {
  if ((Is(place, "attn_v") || Is(place, "ffn_down")) && UsesMoreBits(place)) return FormatId::kQ6_K;
  if (Is(place, "attn_qkv")) return FormatId::kQ6_K;
  return MixHead(place);
}
Type MixIq4(const TensorPlace& place) {
  if (Is(place, "attn_v") && place.group_query >= 4) return FormatId::kQ5_K;
  if (Is(place, "ffn_down") && IsFirst(place, 8)) return FormatId::kQ5_K;
  return MixHead(place);
}

struct Row {
  std::string_view name;
  std::string_view alias;
  FormatId base;
  int file_type;
  Type (*mix)(const TensorPlace&);
};
constexpr Row kRows[] = {
    {"f32", "", FormatId::kF32, 0, nullptr},          {"f16", "", FormatId::kF16, 1, nullptr},
    {"bf16", "", FormatId::kBF16, 32, nullptr},       {"q8_0", "", FormatId::kQ8_0, 7, nullptr},
    {"q6_k", "", FormatId::kQ6_K, 18, nullptr},       {"q5_k_m", "q5_k", FormatId::kQ5_K, 17, MixQ5KM},
    {"q5_k_s", "", FormatId::kQ5_K, 16, MixHead},     {"q5_1", "", FormatId::kQ5_1, 9, MixHead},
    {"q5_0", "", FormatId::kQ5_0, 8, MixHead},        {"q4_k_m", "q4_k", FormatId::kQ4_K, 15, MixQ4KM},
    {"q4_k_s", "", FormatId::kQ4_K, 14, MixQ4KS},     {"q4_1", "", FormatId::kQ4_1, 3, MixHead},
    {"q4_0", "", FormatId::kQ4_0, 2, MixHead},        {"iq4_nl", "", FormatId::kIQ4_NL, 25, MixIq4},
    {"iq4_xs", "", FormatId::kIQ4_XS, 30, MixIq4},    {"q3_k_l", "", FormatId::kQ3_K, 13, MixQ3KL},
    {"q3_k_m", "q3_k", FormatId::kQ3_K, 12, MixQ3KM}, {"q3_k_s", "", FormatId::kQ3_K, 11, MixHead},
    {"q2_k", "", FormatId::kQ2_K, 10, MixQ2K},        {"q2_k_s", "", FormatId::kQ2_K, 21, MixQ2KS},
};

std::string Lower(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c); });
  return lower;
}

}  // namespace

Result<Recipe> FindRecipe(std::string_view name) {
  const std::string lower = Lower(name);
  for (const Row& row : kRows) {
    if (lower == row.name || (!row.alias.empty() && lower == row.alias)) {
      return Recipe{row.name, Container::kGguf, row.base, row.file_type, row.mix, nullptr};
    }
  }
  if (const CompressedScheme* const scheme = FindScheme(lower); scheme != nullptr) {
    return Recipe{.name = scheme->name, .container = Container::kHub, .scheme = scheme};
  }
  return MakeError(ErrorCode::kInvalidArgument,
                   fmt::format("unknown format '{}'; known: {}", std::string(name), KnownRecipes()), "format");
}

std::string KnownRecipes() {
  std::vector<std::string_view> gguf;
  for (const Row& row : kRows) {
    gguf.push_back(row.name);
  }
  std::vector<std::string_view> hub;
  for (const CompressedScheme& scheme : CompressedSchemes()) {
    hub.push_back(scheme.name);
  }
  return fmt::format("{} (GGUF), {} (compressed-tensors)", fmt::join(gguf, ", "), fmt::join(hub, ", "));
}

Result<TensorFormat> FindTensorFormat(std::string_view name, Container container) {
  const std::string lower = Lower(name);
  std::vector<std::string> known;
  for (const kernels::WeightFormat& format : kernels::WeightFormats()) {
    const bool is_float = format.block_elements == 1;
    if (!is_float && (container != Container::kGguf || !gguf::NumberOfType(format.dtype))) {
      continue;
    }
    if (Lower(format.name) == lower) {
      return TensorFormat{format.id, nullptr};
    }
    known.push_back(Lower(format.name));
  }
  if (container == Container::kHub) {
    if (const CompressedScheme* const scheme = FindScheme(lower); scheme != nullptr) {
      return TensorFormat{std::nullopt, scheme};
    }
    for (const CompressedScheme& scheme : CompressedSchemes()) {
      known.emplace_back(scheme.name);
    }
  }
  return MakeError(
      ErrorCode::kInvalidArgument,
      fmt::format("unknown format '{}' of a tensor; known here: {}", std::string(name), fmt::join(known, ", ")),
      "format");
}

FormatId FittingType(FormatId type, int64_t columns) {
  const auto fits = [&](FormatId id) { return columns % kernels::FormatOf(id).block_elements == 0; };
  if (fits(type)) {
    return type;
  }
  FormatId other = FormatId::kF16;
  switch (type) {
    case FormatId::kQ2_K:
    case FormatId::kQ3_K:
    case FormatId::kIQ4_XS: other = FormatId::kIQ4_NL; break;
    case FormatId::kQ4_K: other = FormatId::kQ5_0; break;
    case FormatId::kQ5_K: other = FormatId::kQ5_1; break;
    case FormatId::kQ6_K: other = FormatId::kQ8_0; break;
    default: break;
  }
  return fits(other) ? other : FormatId::kF16;
}

}  // namespace causeway::model::quantize
