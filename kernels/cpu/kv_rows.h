// KV rows between float32 and the cache's format.
#pragma once

#include "kernels/cpu/vec.h"
#include "kernels/kv_address.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

inline Vec LoadKv(KvFormat format, const std::byte* p) {
  switch (format) {
    case KvFormat::kF16: return LoadF16(p);
    case KvFormat::kBF16: return LoadBF16(p);
    case KvFormat::kF32: break;
  }
  return Load(reinterpret_cast<const float*>(p));
}

// count values to float32; zeros up to the next whole vector.
inline void DecodeKv(KvFormat format, const std::byte* source, float* values, int64_t count) {
  const int64_t bytes = KvFormatBytes(format);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    Store(values + i, LoadKv(format, source + i * bytes));
  }
  if (i < count) {
    alignas(64) std::byte part[kLanes * 4] = {};
    std::memcpy(part, source + i * bytes, static_cast<size_t>((count - i) * bytes));
    Store(values + i, LoadKv(format, part));
  }
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
