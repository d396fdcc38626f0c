#include "memory/kv_geometry.h"

#include <algorithm>
#include <optional>

#include "fmt/format.h"

namespace causeway::memory {
namespace {

constexpr int64_t kMinTokens = 16;
constexpr int64_t kMaxTokens = 64;
constexpr int64_t kTargetPageBytes = int64_t{2} << 20;
constexpr int64_t kMaxPageBytes = int64_t{32} << 20;

int64_t RoundUp(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// K and V of all layers, or nothing where the product of a hostile configuration overflows.
std::optional<int64_t> TokenBytes(const KvShape& shape) {
  int64_t bytes = 2;
  for (const int64_t factor : {shape.layers, shape.kv_heads, shape.head_dim, shape.element_bytes}) {
    if (__builtin_mul_overflow(bytes, factor, &bytes)) {
      return std::nullopt;
    }
  }
  return bytes;
}

}  // namespace

Result<KvGeometry> ChooseGeometry(const KvShape& shape, int64_t granularity) {
  if (shape.layers < 1 || shape.kv_heads < 1 || shape.head_dim < 1 || shape.element_bytes < 1 || granularity < 1 ||
      granularity > kMaxPageBytes) {
    return MakeError(ErrorCode::kInvalidArgument, "the KV shape or the granularity is out of range");
  }
  const std::optional<int64_t> token_bytes_or = TokenBytes(shape);
  if (!token_bytes_or || *token_bytes_or > kMaxPageBytes / kMinTokens) {
    return MakeError(
        ErrorCode::kUnsupported,
        fmt::format("one token's KV ({} layers, {} heads of {}, {} bytes each) is too large: a "
                    "page of {} tokens takes at most {} bytes",
                    shape.layers, shape.kv_heads, shape.head_dim, shape.element_bytes, kMinTokens, kMaxPageBytes));
  }
  const int64_t token_bytes = *token_bytes_or;
  KvGeometry geometry;
  geometry.shape = shape;
  geometry.row_bytes = shape.kv_heads * shape.head_dim * shape.element_bytes;
  // As many tokens as fill the target, in steps of 16: attention reads runs of so many neighbours (kernels/kv.h).
  const int64_t fitting = kTargetPageBytes / token_bytes / kMinTokens * kMinTokens;
  geometry.tokens_per_page = std::clamp(fitting, kMinTokens, kMaxTokens);
  geometry.page_bytes = RoundUp(geometry.tokens_per_page * token_bytes, granularity);
  return geometry;
}

}  // namespace causeway::memory
