// Counter-based random numbers: a value is a pure function of (seed, stream, counter), so there is no
// generator state to save, and a replay is exact whatever ran in between.
#pragma once

#include <cstdint>

namespace causeway {

// Finalizer of SplitMix64 (Steele, Lea, Flood 2014; constants by D. Stafford, variant 13).
constexpr uint64_t Mix64(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

// 64 random bits for one draw: seed of the request, stream (sequence index), counter (token position).
constexpr uint64_t RandomBits(uint64_t seed, uint64_t stream, uint64_t counter) {
  constexpr uint64_t kGolden = 0x9e3779b97f4a7c15ULL;
  return Mix64(Mix64(Mix64(seed + kGolden) + stream * kGolden + kGolden) + counter * kGolden + kGolden);
}

// Uniform in [0, 1) with 53 random bits.
constexpr double RandomUniform(uint64_t seed, uint64_t stream, uint64_t counter) {
  return static_cast<double>(RandomBits(seed, stream, counter) >> 11) * 0x1.0p-53;
}

}  // namespace causeway
