// What the rows of a page hold, written and compared by the host, wherever the page's memory is.
#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"
#include "base/rng.h"
#include "tests/property/kv_walk.h"
#include "tests/support/kv_fixtures.h"

namespace causeway::memory {
namespace {

constexpr auto kT = static_cast<size_t>(kTestTokensPerPage);
constexpr size_t kRowWords = 8;
constexpr size_t kRowsOfPage = 4096;  // bytes, at the beginning of a page, that all its rows fill

using Row = std::array<uint64_t, kRowWords>;

Row RowOf(uint64_t lineage, int64_t layer, int64_t half) {
  Row row;
  row.fill(Mix64(lineage + static_cast<uint64_t>(2 * layer + half)));
  for (size_t i = 0; i < kRowWords; ++i) {
    row[i] += i;
  }
  return row;
}

int64_t OffsetOf(const KvGeometry& geometry, int64_t layer, int64_t half, size_t token) {
  return ((2 * layer + half) * kTestTokensPerPage + static_cast<int64_t>(token)) * geometry.row_bytes;
}

}  // namespace

// The host cannot touch a device's memory.
void KvWalk::CopyRows(void* to, const void* from) const {
  CHECK(device_->Copy(reinterpret_cast<CudaAddress>(to), reinterpret_cast<CudaAddress>(from), kRowsOfPage) == 0);
}

void KvWalk::WritePage(std::byte* page, const Text& text, size_t first, size_t last) const {
  std::array<std::byte, kRowsOfPage> copy;
  std::byte* const rows = device_ == nullptr ? page : copy.data();
  if (device_ != nullptr) {
    CopyRows(rows, page);
  }
  for (size_t at = first; at < last; ++at) {
    for (int64_t layer = 0; layer < options_.geometry.shape.layers; ++layer) {
      for (const int64_t half : {0, 1}) {
        const Row row = RowOf(text.lineage[at], layer, half);
        std::memcpy(rows + OffsetOf(options_.geometry, layer, half, at % kT), row.data(), sizeof row);
      }
    }
  }
  if (device_ != nullptr) {
    CopyRows(page, rows);
  }
}

void KvWalk::CheckPage(const std::byte* page, const Text& text, size_t place) const {
  std::array<std::byte, kRowsOfPage> copy;
  const std::byte* const rows = device_ == nullptr ? page : copy.data();
  if (device_ != nullptr) {
    CopyRows(copy.data(), page);
  }
  for (size_t at = place * kT; at < std::min((place + 1) * kT, text.tokens.size()); ++at) {
    for (int64_t layer = 0; layer < options_.geometry.shape.layers; ++layer) {
      for (const int64_t half : {0, 1}) {
        const Row row = RowOf(text.lineage[at], layer, half);
        CHECK_MSG(std::memcmp(rows + OffsetOf(options_.geometry, layer, half, at % kT), row.data(), sizeof row) == 0,
                  "step {}: wrong bytes at position {} layer {} half {}", step_, at, layer, half);
      }
    }
  }
}

}  // namespace causeway::memory
