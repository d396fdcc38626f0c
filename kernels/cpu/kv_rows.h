// KV rows between float32 and the cache's format.
#pragma once

#include "kernels/cpu/vec.h"
#include "kernels/kv_address.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

template <KvFormat kFormat>
inline Vec LoadKv(const std::byte* p) {
  if constexpr (kFormat == KvFormat::kF16) {
    return LoadF16(p);
  } else if constexpr (kFormat == KvFormat::kBF16) {
    return LoadBF16(p);
  } else {
    return Load(reinterpret_cast<const float*>(p));
  }
}

// count values to float32; zeros up to the next whole vector.
template <KvFormat kFormat>
inline void DecodeKv(const std::byte* source, float* values, int64_t count) {
  const int64_t bytes = KvFormatBytes(kFormat);
  int64_t i = 0;
  for (; i + 4 * kLanes <= count; i += 4 * kLanes) {
    Vec vectors[4];
#pragma GCC unroll 4
    for (int n = 0; n < 4; ++n) {
      vectors[n] = LoadKv<kFormat>(source + (i + n * kLanes) * bytes);
    }
#pragma GCC unroll 4
    for (int n = 0; n < 4; ++n) {
      Store(values + i + n * kLanes, vectors[n]);
    }
  }
  for (; i + kLanes <= count; i += kLanes) {
    Store(values + i, LoadKv<kFormat>(source + i * bytes));
  }
  if (i < count) {
    alignas(64) std::byte part[kLanes * 4] = {};
    std::memcpy(part, source + i * bytes, static_cast<size_t>((count - i) * bytes));
    Store(values + i, LoadKv<kFormat>(part));
  }
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
